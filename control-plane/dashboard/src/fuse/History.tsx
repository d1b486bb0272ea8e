// What a fuse has said and done: its verdicts and its trips.
import { Button, Code, Group, Text, VisuallyHidden } from '@mantine/core';
import { useState } from 'react';
import { useQuery } from '@tanstack/react-query';
import type { Place, Schemas } from '../api';
import { Asked, Chip, Empty, Snippet, TextLink, Time, type Tone } from '../parts';
import { decisionInWords, reasonInWords } from '../model/fuse.ts';
import { counted, listed } from '../model/words.ts';
import { trips } from './reads';

interface VerdictLogProps { place: Place; flag: string; verdicts: readonly Schemas['VerdictAnswer'][]; hasMore: boolean; isLoading: boolean; onMore: () => void }

interface Run { newest: Schemas['VerdictAnswer']; oldestMs: number; count: number }

/** Neighbours with the same decision, reason and phase say the same. */
function runsOf(verdicts: readonly Schemas['VerdictAnswer'][]): Run[] {
  const runs: Run[] = [];
  for (const verdict of verdicts) {
    const last = runs[runs.length - 1];
    if (last !== undefined && last.newest.decision === verdict.decision && last.newest.reason === verdict.reason && last.newest.phase === verdict.phase) {
      last.count += 1;
      last.oldestMs = verdict.at_ms;
    } else runs.push({ newest: verdict, oldestMs: verdict.at_ms, count: 1 });
  }
  return runs;
}

/** Verdicts in sentences, the newest first. Those that only repeat the one before are drawn together. */
export function VerdictLog({ place, flag, verdicts, hasMore, isLoading, onMore }: VerdictLogProps) {
  if (verdicts.length === 0) return <Empty>No verdict yet. One is written within ten seconds of arming, and whenever it changes.</Empty>;
  return (
    <>
      <div className="surface rows" role="list" aria-label="Verdicts">
        {runsOf(verdicts).map((run) => <VerdictRow key={run.newest.verdict_id} place={place} flag={flag} run={run} />)}
      </div>
      {hasMore ? <Group mt="sm"><Button variant="default" loading={isLoading} onClick={onMore}>Older ones</Button></Group> : null}
    </>
  );
}

const TONES: Record<string, Tone> = { trip: 'bad', hold: 'warn', half_open: 'warn', advance: 'good', close: 'good' };

function VerdictRow({ place, flag, run }: { place: Place; flag: string; run: Run }) {
  const [isOpen, setOpen] = useState(false);
  const { newest } = run;
  return (
    <div className="row" role="listitem">
      <div className="verdict">
        <Text size="sm"><Time ms={newest.at_ms} /></Text>
        <div className="verdict-words">
          <Text size="sm" component="div" className="break">
            <Chip tone={TONES[newest.decision] ?? 'quiet'}>{decisionInWords(newest.decision)}</Chip>{' '}
            <b>{reasonInWords(newest.reason)}.</b> {newest.summary}
          </Text>
          {run.count > 1 ? <Text size="xs" c="dimmed">{`The same in ${counted(run.count, 'verdict')} since `}<Time ms={run.oldestMs} /></Text> : null}
          {isOpen ? (
            <div style={{ display: 'grid', gap: 8, marginTop: 8 }}>
              <Text size="xs" c="dimmed">Anybody with the data folder can make this verdict again from the same tallies, bit by bit:</Text>
              <Snippet text={`flagfuse fuse replay --data DIR --project ${place.project} --environment ${place.environment} --flag '${flag.replaceAll("'", `'\\''`)}'`} label="Copy the command" />
              <Code block tabIndex={0} role="group" aria-label={`Numbers of verdict ${newest.verdict_id}`} style={{ maxHeight: 320, overflow: 'auto' }}>{JSON.stringify(newest, null, 2)}</Code>
            </div>
          ) : null}
        </div>
        <Button size="compact-xs" variant="subtle" color="gray" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>{isOpen ? 'Less' : 'Numbers'}<VisuallyHidden>{` of verdict ${newest.verdict_id}`}</VisuallyHidden></Button>
      </div>
    </div>
  );
}

/** The trips of a fuse, the newest first, each with the way to its story. */
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
