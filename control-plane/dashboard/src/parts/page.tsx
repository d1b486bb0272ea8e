// A screen: its title, what can be done on it, its sections.
import { Group, Stack, Text, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';

export function Page({ title, about, actions, children }: { title: string; about?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Flagfuse`;
  }, [title]);
  return (
    <Stack gap="md" maw={1200}>
      <Group justify="space-between" gap="sm" align="flex-start">
        <div style={{ minWidth: 0 }}>
          <Title order={1} className="break">{title}</Title>
          {about !== undefined && <Text size="sm" c="dimmed" component="div" className="break">{about}</Text>}
        </div>
        <Group gap="xs">{actions}</Group>
      </Group>
      {children}
    </Stack>
  );
}

export function Section({ title, about, actions, children }: { title: string; about?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <Stack gap="xs" component="section" aria-label={title}>
      <Group justify="space-between" gap="xs">
        <Group gap="xs" align="baseline">
          <Title order={2}>{title}</Title>
          {about !== undefined && <Text size="sm" c="dimmed" component="span">{about}</Text>}
        </Group>
        {actions}
      </Group>
      {children}
    </Stack>
  );
}

/** A number, what it is, and what belongs to it. */
export function Figure({ label, value, about, tone }: { label: string; value: string; about: string; tone?: string }) {
  return (
    <div className="surface" style={{ padding: '0.75rem 0.875rem' }}>
      <Text size="xs" c="dimmed">{label}</Text>
      <Text size="xl" fw={600} className="num" {...(tone === undefined ? {} : { c: tone })}>{value}</Text>
      <Text size="xs" c="dimmed">{about}</Text>
    </div>
  );
}
