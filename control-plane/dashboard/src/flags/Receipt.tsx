// A change on its way: how many replicas have it, until it is live everywhere. It fills in place.
import { Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { asProblem, change, type Place, type Schemas } from '../api';
import { TextLink } from '../parts';
import { duration } from '../model/words.ts';
import { ReceiptGrid } from '../pictures/ReceiptGrid.tsx';

const ASK_MS = 250;
const LATER_MS = 2000;

export const isSettled = (arrival: Schemas['Arrival']) => arrival.state === 'live' || arrival.state === 'superseded';

export function Receipt({ place, version }: { place: Place; version: string }) {
  const query = useQuery({
    ...change(place, version),
    refetchInterval: ({ state }) => (state.data !== undefined && isSettled(state.data) ? false : state.dataUpdateCount < 40 ? ASK_MS : LATER_MS),
  });
  const arrival = query.data;
  return (
    <div role="status" aria-live="polite" data-receipt={arrival?.state ?? 'asking'}>
      <Group gap="sm" align="center">
        <Text size="sm"><b className="num">{version}</b> {arrival === undefined ? (query.error === null ? 'is on its way …' : asProblem(query.error).message) : receiptWords(arrival)}</Text>
        <TextLink size="sm" to="/$project/$environment/changes/$version" params={{ ...place, version }}>Receipt</TextLink>
      </Group>
      {arrival === undefined || arrival.replicas.length === 0 ? null : (
        <ReceiptGrid cells={arrival.replicas} />
      )}
    </div>
  );
}

export function receiptWords(arrival: Schemas['Arrival']): string {
  const all = `${arrival.acked}/${arrival.replicas_total}`;
  const slowest = arrival.slowest_ms === null ? '' : ` in ${duration(arrival.slowest_ms)}`;
  const refused = arrival.replicas.filter((one) => one.nack_code !== null).length;
  if (arrival.replicas_total === 0) return 'is stored. No replica is connected, so nothing tells where it is live.';
  if (arrival.state === 'live') return `is live everywhere: ${all}${slowest}.`;
  if (arrival.state === 'superseded') return `is live everywhere: ${all}, in part through a later version.`;
  return `${all} replicas have it${slowest}${refused > 0 ? `; ${refused} refused it` : ''} …`;
}
