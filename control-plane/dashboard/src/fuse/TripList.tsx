// The trips of a fuse, the newest first, each with the way to its story.
import { Group, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import type { Place } from '../api';
import { Asked, TextLink, Time } from '../parts';
import { listed } from '../model/words.ts';
import { trips } from './reads';

export function TripList({ place, flag }: { place: Place; flag: string }) {
  const query = useQuery(trips(place, flag));
  if (query.data?.trips.length === 0) return null;
  return (
    <Asked title="Trips" query={query} lines={1}>
      {({ trips: all }) => (
        <div className="surface rows" role="list" aria-label="Trips">
          {all.map((one) => (
            <Group key={one.number} className="row" role="listitem" gap="sm">
              <Time ms={one.at_ms} />
              <TextLink size="sm" fw={600} to="/$project/$environment/flags/$flag/fuse/trips/$trip" params={{ ...place, flag, trip: String(one.number) }}>{`Trip ${one.number}`}</TextLink>
              <Text size="sm" flex={1} miw={140} className="break">{one.metrics.length > 0 ? `harm to ${listed(one.metrics)}` : <bdi>{one.note === null || one.note === '' ? 'by hand' : one.note}</bdi>} <Text span size="sm" c="dimmed">by <bdi>{one.actor}</bdi></Text></Text>
              <Text size="sm" c="dimmed">{one.ended === null ? 'still open' : <>{one.ended.to.toLowerCase().replace('_', ' ')} since <Time ms={one.ended.at_ms} /></>}</Text>
            </Group>
          ))}
        </div>
      )}
    </Asked>
  );
}
