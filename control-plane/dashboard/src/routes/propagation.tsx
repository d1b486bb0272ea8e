// Is it really everywhere? One sentence, then every replica with its state in words.
import { Group, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { duration } from '../model/words.ts';
import { propagation, recentChanges, type Schemas } from '../api';
import { Ago, Asked, Chip, Empty, Loaded, Page, Row, Rows, Section, shortTime, span, TextLink, Time, type Tone, useNow } from '../parts';
import { DataTable } from '../parts/table';
import { usePlace } from './place';
import { summary, versionOf } from './audit-words';

type Propagation = Schemas['Propagation'];
type Replica = Schemas['Replica'];

export function Propagation() {
  const place = usePlace();
  const query = useQuery({ ...propagation(place), refetchInterval: (query) => (isEverywhere(query.state.data) ? false : 1_000) });
  return (
    <Page title="Propagation" about="Where the newest version is. A region counts once each of its replicas has stored exactly these bytes and said so.">
      <Loaded query={query}>
        {(data) => (
          <>
            <Sentence data={data} />
            <Grid data={data} />
          </>
        )}
      </Loaded>
      <Versions />
    </Page>
  );
}

const isEverywhere = (data: Propagation | undefined) => data !== undefined && data.replicas_acked >= data.replicas_total && data.guaranteed_live_at_ms !== null;

function Sentence({ data }: { data: Propagation }) {
  const place = usePlace();
  const now = useNow();
  const link = (
    <TextLink to="/$project/$environment/changes/$version" params={{ ...place, version: data.version }} fw={700} className="num">
      {data.version}
    </TextLink>
  );
  if (data.replicas_total === 0) {
    return <Empty>{data.version} is not pushed anywhere: this control plane was started without an edge (<code>--edge NAME=URL</code>).</Empty>;
  }
  const live = data.guaranteed_live_at_ms;
  const all = data.replicas_acked >= data.replicas_total;
  return (
    <Group className="surface" p="md" gap="sm" aria-live="polite">
      <span className="dot" data-tone={all ? 'good' : 'warn'} />
      <Text size="lg">
        {link}{' '}
        {all && live !== null && live <= now ? (
          <>
            is <b>live everywhere</b>: <span className="num">{data.replicas_acked} of {data.replicas_total}</span> replicas
            {data.slowest_ms !== null && <>, slowest <span className="num">{duration(data.slowest_ms)}</span></>}, guaranteed since <Time ms={live} />.
          </>
        ) : all ? (
          <>is stored everywhere; no answer can be older from {live === null ? 'the next beat' : shortTime(live, now)} on.</>
        ) : (
          <>
            is on its way: <span className="num">{data.replicas_acked} of {data.replicas_total}</span> replicas have it
            {data.created_ms !== null && <>, signed <span className="num">{span(now - data.created_ms)}</span> ago</>}.
          </>
        )}
      </Text>
      {data.lowered_to !== null && <Chip tone="warn">{`lowered to format ${data.lowered_to}`}</Chip>}
      {data.forks.length > 0 && <Chip tone="bad">the database is behind its replicas</Chip>}
    </Group>
  );
}

/** What a replica does, in words. */
export function replicaState(replica: Replica, newest: string, nowMs: number): [Tone, string] {
  if (replica.nack_code !== null && !replica.is_acked) {
    return ['bad', `refuses: ${replica.nack_code}${replica.version === null ? '' : `, kept ${replica.version}`}`];
  }
  if (replica.is_acked) return ['good', 'live'];
  const wait = replica.waiting_for_stage;
  if (wait) {
    if (wait.waits_for === 'soak') return ['quiet', wait.until_ms === undefined ? 'waits for an earlier stage' : `waits for an earlier stage, ${span(wait.until_ms - nowMs)} left`];
    return ['quiet', wait.replica === undefined ? 'waits for an earlier stage' : `waits for ${wait.replica.region}/${wait.replica.shard}`];
  }
  if (replica.version === null) return ['bad', 'never heard'];
  return ['warn', `behind by ${behind(replica.version, newest)}`];
}

function behind(held: string, newest: string): string {
  const [heldEpoch, heldSeq] = held.split('.').map(Number);
  const [epoch, seq] = newest.split('.').map(Number);
  if (heldEpoch !== epoch) return 'an epoch';
  const count = (seq ?? 0) - (heldSeq ?? 0);
  return `${count} version${count === 1 ? '' : 's'}`;
}

function Grid({ data }: { data: Propagation }) {
  const now = useNow();
  if (data.replicas.length === 0) return null;
  return (
    <Section title="Replicas" about="region × shard">
      <DataTable label="Replicas" width={620} columns={['Region', 'Shard', 'State', 'Holds', { title: 'Lag', ends: true }, 'Stored', 'Receipt']}>
        {data.replicas.map((replica) => {
          const [tone, words] = replicaState(replica, data.version, now);
          return (
            <Table.Tr key={`${replica.region}/${replica.shard}`}>
              <Table.Td>{replica.region}</Table.Td>
              <Table.Td className="num">{replica.shard}</Table.Td>
              <Table.Td>
                <Chip tone={tone}>{words}</Chip>
                {!replica.is_acked && replica.nack_detail !== null && <Text size="xs" c="dimmed">{replica.nack_detail}</Text>}
              </Table.Td>
              <Table.Td className="num">{replica.version ?? '–'}</Table.Td>
              <Table.Td className="num" ta="right">{replica.lag_ms === null ? '–' : duration(replica.lag_ms)}</Table.Td>
              <Table.Td>{replica.stored_ms === null ? '–' : <Time ms={replica.stored_ms} />}</Table.Td>
              <Table.Td>{replica.acked_ms === null ? '–' : <Time ms={replica.acked_ms} />}</Table.Td>
            </Table.Tr>
          );
        })}
      </DataTable>
      <Text size="xs" c="dimmed">
        Lag: from signing to storing, by the replica's clock. After the last receipt an answer may be as old as its isolate's hard limit; “guaranteed” counts that in.
      </Text>
    </Section>
  );
}

function Versions() {
  const place = usePlace();
  const query = useQuery(recentChanges(place, 40));
  return (
    <Asked title="Last versions" query={query}>
      {({ audit }) => (
        <Rows label="Last versions" empty="Nothing was changed here yet.">
          {audit.flatMap((entry) => {
            const version = versionOf(entry);
            return version === null ? [] : (
              <Row key={entry.audit_id} end={<Text size="xs" c="dimmed"><Ago ms={entry.at_ms} /></Text>}>
                <TextLink to="/$project/$environment/changes/$version" params={{ ...place, version }} size="sm" className="num" miw={56}>{version}</TextLink>
                <Text size="sm" className="truncate" flex={1}>{summary(entry)}</Text>
              </Row>
            );
          })}
        </Rows>
      )}
    </Asked>
  );
}
