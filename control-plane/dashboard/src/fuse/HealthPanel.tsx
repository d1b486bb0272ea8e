// Who is counted and who is not: the arms against their shares, bots, what was left out, up to when everything is known.
import { Group, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Place } from '../api';
import { Asked, Chip, Time } from '../parts';
import { count, counted } from '../model/words.ts';
import { flagHealth } from './reads';

export function HealthPanel({ place, flag }: { place: Place; flag: string }) {
  return (
    <Asked title="Who is counted" query={useQuery(flagHealth(place, flag))} lines={2}>
      {(health) => {
        const left = Object.entries(health.flag?.not_counted ?? {}).flatMap(([reason, arms]) => Object.entries(arms).map(([arm, units]) => ({ arm, reason, units }))).filter((one) => one.units > 0);
        return (
          <>
            <Group gap="sm">
              {health.flag === null ? <Text size="sm" c="dimmed">Nobody has been counted yet.</Text> : (
                <>
                  <Chip tone={health.flag.plausible ? 'good' : 'bad'}>{health.flag.plausible ? 'arms have the sizes of their shares' : 'sample ratio mismatch'}</Chip>
                  <Text size="sm" className="num">{`${count(health.flag.enrolled.exposed)} exposed, ${count(health.flag.enrolled.control)} control`}</Text>
                  <Text size="sm" c="dimmed" className="num">{`${counted(health.flag.bots.exposed + health.flag.bots.control, 'bot')} left out`}</Text>
                </>
              )}
              <Text size="sm" c="dimmed">{health.completeUpToMs === null ? 'No event has arrived yet.' : <>Complete up to <Time ms={health.completeUpToMs} /></>}</Text>
              {health.buffersBehind.length > 0 ? <Chip tone="warn">{`${counted(health.buffersBehind.length, 'buffer')} behind`}</Chip> : null}
            </Group>
            {(health.flag?.guardrails_without_events ?? []).length === 0 ? null : <Text size="sm" c="var(--mantine-color-yellow-text)">No event yet of {health.flag?.guardrails_without_events.join(', ')}.</Text>}
            {left.length === 0 ? null : (
              <Table verticalSpacing={2} fz="sm" maw={480} aria-label="Not counted">
                <Table.Thead><Table.Tr><Table.Th>Not counted</Table.Th><Table.Th>Arm</Table.Th><Table.Th ta="right">Units or events</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{left.map((one) => <Table.Tr key={`${one.arm}${one.reason}`}><Table.Td>{one.reason.replaceAll('_', ' ')}</Table.Td><Table.Td>{one.arm}</Table.Td><Table.Td ta="right" className="num">{count(one.units)}</Table.Td></Table.Tr>)}</Table.Tbody>
              </Table>
            )}
          </>
        );
      }}
    </Asked>
  );
}
