// Can what is counted be believed? Rate, balance by minute, buffers, refused events with a way to count them after all, metrics.
import { Button, Code, SimpleGrid, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { count, counted } from '../model/words.ts';
import { api, AT, data, metricsSeen, type Place, read, type Schemas, telemetryHealth, touching, useChange } from '../api';
import type { EventRate } from '../live/apply';
import { Ago, Asked, ChangeDialog, Chip, Empty, Figure, Loaded, minuteTime, Page, Row, Rows, Section, span, TextLink, Time, useNow } from '../parts';
import { DataTable } from '../parts/table';
import { useMayEdit } from '../session/session';
import { usePlace } from './place';

export function Events() {
  const place = usePlace();
  const query = useQuery({ ...telemetryHealth(place), refetchInterval: 5_000 });
  const metrics = useQuery({ ...metricsSeen(place), refetchInterval: 15_000 });
  return (
    <Page title="Events" about="Exposures and outcomes, from edges and servers, and what became of each of them.">
      <Loaded query={query}>
        {(health) => (
          <Stack gap="lg">
            <Figures health={health} />
            <Balance />
            <Quarantine groups={health.quarantine} />
            <Arms flags={health.flags} />
            <Buffers behind={health.buffers_behind} />
          </Stack>
        )}
      </Loaded>
      <Section title="Metrics" about="that outcomes named in the last 7 days">
        <Loaded query={metrics}>{(list) => <Metrics list={list} />}</Loaded>
      </Section>
    </Page>
  );
}

function Figures({ health }: { health: Schemas['TelemetryHealth'] }) {
  const place = usePlace();
  const now = useNow();
  const { data: rate } = useQuery<EventRate | null>({ queryKey: ['event-rate', place.project, place.environment], queryFn: () => null, staleTime: Infinity });
  const { balance } = health;
  const missing = balance.received - balance.stored - balance.duplicate - balance.quarantined;
  const through = health.complete_up_to_ms;
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }} spacing="sm">
      <Figure label="Arriving now" value={rate ? `${rate.eventsPerS.toFixed(1)} / s` : '–'} about={rate ? 'events, all sources' : 'told by the feed'} />
      <Figure label="Received" value={count(balance.received)} about={`${count(balance.stored)} stored, ${count(balance.duplicate)} repeated, ${count(balance.quarantined)} refused`} />
      <Figure
        label="Balance"
        value={missing === 0 ? '0' : count(missing)}
        tone={missing === 0 ? 'var(--ff-good)' : 'var(--ff-bad)'}
        about={missing === 0 ? 'every event is accounted for' : 'events that nobody can account for'}
      />
      <Figure label="Complete up to" value={through === null ? '–' : `${span(now - through)} ago`} about={through === null ? 'no buffer has delivered yet' : 'everything before that is counted'} />
    </SimpleGrid>
  );
}

const MINUTES = 60;
const [WIDTH, HEIGHT] = [600, 72];

const balance = (place: Place) =>
  read('balance', place, (path, signal) => data(api.GET(`${AT}/balance`, { params: { path, query: { limit: MINUTES } }, signal })));

/** By minute: received is stored, repeated or refused, or somebody has to look. */
function Balance() {
  return (
    <Asked title="By minute" about="received = stored + repeated + refused, in each of them" query={useQuery({ ...balance(usePlace()), refetchInterval: 15_000 })} lines={2}>
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

type Group_ = Schemas['Group'];

/** Events that could not be counted, by why: what one looks like, what to do, and counting them after all, rehearsed first. */
function Quarantine({ groups }: { groups: Group_[] }) {
  const place = usePlace();
  const mayEdit = useMayEdit(place);
  const [asked, setAsked] = useState<Group_ | null>(null);
  return (
    <Section title="Quarantine" about="refused, kept for 30 days, never dropped in silence">
      <Rows label="Refused events" empty="No event was refused.">
        {groups.map((group) => {
          const end = (
            <>
              <Text size="sm" className="num">{counted(group.events, 'event')}, {group.waiting} waiting</Text>
              <Text size="xs" c="dimmed">last <Ago ms={group.last_ms} /></Text>
              {mayEdit && group.waiting > 0 && <Button variant="default" onClick={() => setAsked(group)}>Replay …</Button>}
            </>
          );
          return (
            <Row key={`${group.code}/${group.flag}/${group.sdk}`} end={end}>
              <Chip tone="warn">{group.code}</Chip>
              <Text size="sm" component="span">{group.flag === '' ? 'no flag' : group.flag} · {group.sdk === '' ? 'SDK not named' : group.sdk}</Text>
              <Text size="sm" className="break" w="100%">{group.reason}</Text>
            </Row>
          );
        })}
      </Rows>
      {asked !== null && <Replay group={asked} onClose={() => setAsked(null)} />}
    </Section>
  );
}

function Replay({ group, onClose }: { group: Group_; onClose: () => void }) {
  const place = usePlace();
  const ask = (dry_run: boolean, signal?: AbortSignal) => {
    const body = { dry_run, code: group.code, ...(group.flag === '' ? {} : { flag: group.flag }), ...(group.sdk === '' ? {} : { sdk: group.sdk }) };
    return data(api.POST(`${AT}/quarantine/replay`, { params: { path: place }, body, ...(signal === undefined ? {} : { signal }) }));
  };
  const rehearsal = useQuery({ ...read('replay', place, (_, signal) => ask(true, signal), group), gcTime: 0 });
  const sample = useQuery(read('quarantine', place, (path, signal) => data(api.GET(`${AT}/quarantine`, { params: { path }, signal }))));
  const change = useChange(() => ask(false), touching(place, 'telemetry-health'));
  const passing = rehearsal.data?.would_pass ?? 0;
  const one = sample.data?.quarantine.find((event) => event.code === group.code);
  const done = ({ stored, duplicate, refused }: Schemas['Replayed']) => (
    <Text size="sm" role="status">{counted(stored, 'event')} counted, {counted(duplicate, 'event')} counted before.{refusals(refused)} It is in the audit trail.</Text>
  );
  return (
    <ChangeDialog title={`Replay ${group.code}`} verb={passing === 0 ? 'Nothing would pass' : `Replay ${counted(passing, 'event')}`} size="lg" change={change} isReady={passing > 0} onClose={onClose} done={done}>
      <Text size="sm">{group.reason}</Text>
      {one !== undefined && (
        // What scrolls has to be reachable by keyboard.
        <Code block tabIndex={0} role="group" aria-label="One of them as it came" mah={180} style={{ overflow: 'auto' }}>{one.raw}</Code>
      )}
      <Loaded query={rehearsal} lines={1}>
        {({ looked_at, would_pass, refused }) => <Text size="sm">Of {counted(looked_at, 'event')} that waited, <b>{counted(would_pass, 'event')}</b> would pass the checks now.{refusals(refused)}</Text>}
      </Loaded>
    </ChangeDialog>
  );
}

function refusals(refused: Record<string, number>): string {
  const parts = Object.entries(refused).map(([code, events]) => `${events} × ${code}`);
  return parts.length === 0 ? '' : ` Still refused: ${parts.join(', ')}.`;
}

const ARMS = ['Flag', { title: 'Exposed units', ends: true }, { title: 'Control units', ends: true }, 'Shares', { title: 'Bots kept out', ends: true }, 'Without events'];

function Arms({ flags }: { flags: Schemas['FlagHealth'][] }) {
  const place = usePlace();
  if (flags.length === 0) return null;
  return (
    <Section title="Arms" about="enrolled units against the shares that they should have">
      <DataTable label="Arms" width={620} columns={ARMS}>
        {flags.map((flag) => (
          <Table.Tr key={flag.flag}>
            <Table.Td>
              <TextLink to="/$project/$environment/flags/$flag/fuse" params={{ ...place, flag: flag.flag }} size="sm">{flag.flag}</TextLink>
            </Table.Td>
            <Table.Td ta="right" className="num">{count(flag.enrolled.exposed)}</Table.Td>
            <Table.Td ta="right" className="num">{count(flag.enrolled.control)}</Table.Td>
            <Table.Td>{flag.plausible ? <Chip tone="good">plausible</Chip> : <Chip tone="bad">not by chance: sample ratio mismatch</Chip>}</Table.Td>
            <Table.Td ta="right" className="num">{count(flag.bots.exposed + flag.bots.control)}</Table.Td>
            <Table.Td>{flag.guardrails_without_events.join(', ') || '–'}</Table.Td>
          </Table.Tr>
        ))}
      </DataTable>
    </Section>
  );
}

function Buffers({ behind }: { behind: Schemas['Behind'][] }) {
  if (behind.length === 0) return null;
  return (
    <Section title="Buffers that are behind" about="their edge holds events that have not arrived">
      <Rows label="Buffers that are behind">
        {behind.map((buffer) => (
          <Row key={`${buffer.buffer}/${buffer.queue}`} end={<Chip tone="warn">{`behind by ${span(buffer.behind_ms)}`}</Chip>}>
            <Text size="sm">{buffer.region} · {buffer.queue} · <span className="mono break">{buffer.buffer}</span></Text>
          </Row>
        ))}
      </Rows>
    </Section>
  );
}

function Metrics({ list }: { list: Schemas['MetricList'] }) {
  if (list.metrics.length === 0) {
    return (
      <Empty>No outcome has arrived. A page or a server sends one with <code>POST /v1/events</code>, as the first steps on the overview show.</Empty>
    );
  }
  return (
    <Rows label="Metrics">
      {list.metrics.map((metric) => (
        <Row key={metric.metric} end={<><Text size="sm" className="num">{counted(metric.count, 'outcome')}</Text><Text size="sm" c="dimmed">{metric.last_ms === null ? 'never seen' : <Ago ms={metric.last_ms} />}</Text></>}>
          <Text size="sm" fw={600} className="break">{metric.metric}</Text>
          {metric.watched ? <Text size="sm" c="dimmed">watched by {metric.watched_by.join(', ') || 'a fuse'}</Text> : <Chip tone="quiet">no fuse watches it</Chip>}
        </Row>
      ))}
      {list.other !== null && (
        <Row>
          <Text size="sm" c="dimmed">{counted(list.other.count, 'outcome')} of names beyond the first {list.name_count_max}, last <Time ms={list.other.last_ms} />.</Text>
        </Row>
      )}
    </Rows>
  );
}
