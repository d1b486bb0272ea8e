// Deltas over time, one chart for each metric.
import { Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Place, Schemas } from '../api';
import { Asked, Empty } from '../parts';
import { series } from './reads';
import { SeriesChart } from './SeriesChart';

export function SeriesPanel({ place, flag, policy }: { place: Place; flag: string; policy: Schemas['Policy'] }) {
  const query = useQuery(series(place, flag, new Map(policy.guardrails.map((one) => [one.metric, one.threshold]))));
  return (
    <Asked title="Over time" about="Change against control, with the interval in which it lies." query={query} lines={3}>
      {(lines) => lines.length === 0 ? <Empty>Nothing to draw yet: no slot with units of both arms has closed.</Empty> : (
        <div className="cards">
          {lines.map((line) => <Stack key={line.metric} gap={4} className="surface" p="sm"><Text size="sm" fw={600}><bdi>{line.metric}</bdi></Text><SeriesChart series={line} /></Stack>)}
        </div>
      )}
    </Asked>
  );
}
