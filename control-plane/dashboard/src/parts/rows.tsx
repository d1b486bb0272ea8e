// Lists: a row for each thing, and at its end what is told of it last and what can be done with it.
import { Group } from '@mantine/core';
import { Children, type ReactNode } from 'react';
import { Empty } from './states';

export function Rows({ label, empty, children }: { label: string; empty?: ReactNode; children: ReactNode }) {
  if (empty !== undefined && Children.count(children) === 0) return <Empty>{empty}</Empty>;
  return <div className="surface rows" role="list" aria-label={label}>{children}</div>;
}

export function Row({ end, children }: { end?: ReactNode; children: ReactNode }) {
  return (
    <Group className="row" role="listitem" justify="space-between" gap="sm">
      <Group gap="sm" miw={0} flex="1 1 240px">{children}</Group>
      {end === undefined || end === null || end === false ? null : <Group gap="sm">{end}</Group>}
    </Group>
  );
}
