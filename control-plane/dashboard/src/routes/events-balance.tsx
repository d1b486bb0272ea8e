// The balance by minute: received is stored, repeated or refused, or somebody has to look.
import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { count, counted } from '../model/words.ts';
import { api, AT, data, type Place, read, type Schemas } from '../api';
import { Asked, Empty, minuteTime } from '../parts';
import { usePlace } from './place';

const MINUTES = 60;
const [WIDTH, HEIGHT] = [600, 72];

const balance = (place: Place) =>
  read('balance', place, (path, signal) => data(api.GET(`${AT}/balance`, { params: { path, query: { limit: MINUTES } }, signal })));

export function Balance() {
  const query = useQuery({ ...balance(usePlace()), refetchInterval: 15_000 });
  return (
    <Asked title="By minute" about="received = stored + repeated + refused, in each of them" query={query} lines={2}>
      {({ minutes }) => (minutes.length === 0 ? <Empty>Waiting for the first event.</Empty> : <Bars minutes={minutes} />)}
    </Asked>
  );
}

const off = (minute: Schemas['Minute']) => minute.received - minute.stored - minute.duplicate - minute.quarantined;

function Bars({ minutes }: { minutes: Schemas['Minute'][] }) {
  const sorted = [...minutes].sort((one, other) => one.minute_ms - other.minute_ms);
  const last = sorted.at(-1)?.minute_ms ?? 0;
  const most = Math.max(1, ...sorted.map((minute) => minute.received));
  const guilty = sorted.filter((minute) => off(minute) !== 0);
  const slot = WIDTH / MINUTES;
  const total = sorted.reduce((sum, minute) => sum + minute.received, 0);
  const words = `${counted(total, 'event')} in the last hour with events, ${count(most)} in the fullest minute; ${
    guilty.length === 0 ? 'each minute balances' : `${counted(guilty.length, 'minute')} out of balance`
  }.`;
  return (
    <div className="surface" style={{ padding: '0.75rem 0.875rem' }}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width="100%" height={HEIGHT} preserveAspectRatio="none" role="img" aria-label={words}>
        {sorted.map((minute) => {
          const x = WIDTH - slot * (1 + (last - minute.minute_ms) / 60_000);
          if (x < 0) return null;
          const height = (share: number) => (share / most) * (HEIGHT - 4);
          const [stored, refused] = [height(minute.stored + minute.duplicate), height(minute.quarantined)];
          return (
            <g key={minute.minute_ms}>
              <title>{`${minuteTime(minute.minute_ms)}: ${count(minute.received)} received, ${count(minute.quarantined)} refused`}</title>
              <rect x={x + 0.5} width={slot - 1} y={HEIGHT - stored} height={stored} fill="var(--ff-exposed)" />
              <rect x={x + 0.5} width={slot - 1} y={HEIGHT - stored - refused} height={refused} fill="var(--ff-warn)" />
              {off(minute) !== 0 && <rect x={x} width={slot} y={0} height={3} fill="var(--ff-bad)" />}
            </g>
          );
        })}
        <line x1="0" x2={WIDTH} y1={HEIGHT - 0.5} y2={HEIGHT - 0.5} stroke="var(--ff-line)" />
      </svg>
      <Text size="xs" c="dimmed">{words} Newest minute on the right: {minuteTime(last)}.</Text>
      {guilty.map((minute) => (
        <Text key={minute.minute_ms} size="sm" c="var(--ff-bad)">
          {minuteTime(minute.minute_ms)}: {count(off(minute))} of {count(minute.received)} events are not accounted for.
        </Text>
      ))}
    </div>
  );
}
