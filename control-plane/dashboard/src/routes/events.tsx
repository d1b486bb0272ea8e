// Can what is counted be believed? Rate, balance, buffers, refused events with a way to count them after all, metrics.
import { SimpleGrid, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { count, counted } from '../model/words.ts';
import { metricsSeen, type Schemas, telemetryHealth } from '../api';
import type { EventRate } from '../live/apply';
import { Ago, Chip, Empty, Figure, Loaded, Page, Row, Rows, Section, span, TextLink, Time, useNow } from '../parts';
import { DataTable } from '../parts/table';
import { Balance } from './events-balance';
import { Quarantine } from './events-quarantine';
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
