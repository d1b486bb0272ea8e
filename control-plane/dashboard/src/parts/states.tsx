// What stands where an answer is not: loading for a moment, a problem with what to do, nothing yet with what comes next.
import { Alert, Button, Code, Group, Skeleton, Stack, Text } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { asProblem, type Problem, sentences } from '../api';
import { Section } from './page';

export function ProblemNote({ problem, retry }: { problem: Problem; retry?: (() => void) | undefined }) {
  const { what, advice } = sentences(problem);
  const faults = (problem.body.errors ?? []).filter((fault) => fault.detail !== problem.message);
  return (
    <Alert color="red" role="alert" py="xs" px="sm">
      <Group justify="space-between" gap="sm" wrap="nowrap" align="flex-start">
        <div className="break">
          <Text size="sm">{what}</Text>
          {advice !== null && <Text size="sm">{advice}</Text>}
          {faults.map((fault) => (
            <Text size="sm" key={`${fault.pointer ?? fault.parameter ?? ''}${fault.detail}`}>
              <Code>{fault.pointer ?? fault.parameter ?? ''}</Code> {fault.detail}
            </Text>
          ))}
        </div>
        {retry !== undefined && <Button variant="default" onClick={retry}>Try again</Button>}
      </Group>
    </Alert>
  );
}

/** The answer of a query, or what stands in its place. An old answer stays when a new one fails, and says so. */
export function Loaded<T>({ query, children, lines = 4 }: { query: UseQueryResult<T>; children: (data: T) => ReactNode; lines?: number }) {
  const retry = () => void query.refetch();
  if (query.data !== undefined) {
    return (
      <>
        {query.error !== null && <ProblemNote problem={asProblem(query.error)} retry={retry} />}
        {children(query.data)}
      </>
    );
  }
  if (query.error !== null) return <ProblemNote problem={asProblem(query.error)} retry={retry} />;
  return <Waiting lines={lines} />;
}

/** A section that is made of one answer. */
export function Asked<T>({ query, children, lines, ...section }: { query: UseQueryResult<T>; children: (data: T) => ReactNode; lines?: number; title: string; about?: ReactNode; actions?: ReactNode }) {
  return <Section {...section}><Loaded query={query} {...(lines === undefined ? {} : { lines })}>{children}</Loaded></Section>;
}

/** In the place of what is being fetched. */
export function Waiting({ lines = 4 }: { lines?: number }) {
  return (
    <Stack gap="xs" aria-busy="true" aria-label="Loading" role="status">
      {Array.from({ length: lines }, (_, line) => <Skeleton height={18} key={line} width={`${90 - line * 12}%`} />)}
    </Stack>
  );
}

export function Empty({ children, action }: { children: ReactNode; action?: ReactNode }) {
  return (
    <Group className="surface" p="md" justify="space-between" gap="sm">
      <Text size="sm" c="dimmed" component="div">{children}</Text>
      {action}
    </Group>
  );
}
