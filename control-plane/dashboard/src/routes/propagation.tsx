// Is it really everywhere? One sentence, then every replica with its state in words.
import { Group, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { lagInWords, replicaName } from '../model/arrivals.ts';
import { duration } from '../model/words.ts';
import { ArrivalHistogram, ArrivalStrip, LagLine } from '../pictures/Arrivals.tsx';
import { arrivals, propagation, recentChanges, type Schemas } from '../api';
import { Asked, Chip, Empty, Loaded, Page, Section, shortTime, span, TextLink, Time, type Tone, useNow } from '../parts';
import { DataTable } from '../parts/table';
import { usePlace } from './place';
import { summary, versionOf } from './audit-words';

type Propagation = Schemas['Propagation'];
type Replica = Schemas['Replica'];
type Recent = Schemas['Arrivals'];

export function Propagation() {
  const place = usePlace();
  const query = useQuery({ ...propagation(place), refetchInterval: (query) => (isEverywhere(query.state.data) ? false : 1_000) });
  const recent = useQuery(arrivals(place));
  return (
    <Page title="Propagation" about="Where the newest version is. A region counts once each of its replicas has stored exactly these bytes and said so.">
      <Loaded query={query}>
        {(data) => (
          <>
            <Sentence data={data} />
            <Grid data={data} recent={recent.data} />
          </>
        )}
      </Loaded>
      <Asked title="Last versions" about="from signing to storing, newest at the right" query={recent}>{(told) => <Arrivals recent={told} />}</Asked>
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
    return ['quiet', wait.replica === undefined ? 'waits for an earlier stage' : `waits for ${replicaName(wait.replica)}`];
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

/** Lags of a replica, the newest version first. */
function lagsOf({ arrivals, replicas }: Recent, replica: Replica): (number | null)[] {
  const at = replicas.map(replicaName).indexOf(replicaName(replica));
  return arrivals.map(({ lags_ms }) => lags_ms[at] ?? null);
}

function Grid({ data, recent }: { data: Propagation; recent: Recent | undefined }) {
  const now = useNow();
  if (data.replicas.length === 0) return null;
  return (
    <Section title="Replicas" about="region × shard">
      <DataTable label="Replicas" width={740} columns={['Region', 'Shard', 'State', 'Holds', { title: 'Lag', ends: true }, 'Lately', 'Stored', 'Receipt']}>
        {data.replicas.map((replica) => {
          const [tone, words] = replicaState(replica, data.version, now);
          return (
            <Table.Tr key={replicaName(replica)}>
              <Table.Td>{replica.region}</Table.Td>
              <Table.Td className="num">{replica.shard}</Table.Td>
              <Table.Td>
                <Chip tone={tone}>{words}</Chip>
                {!replica.is_acked && replica.nack_detail !== null && <Text size="xs" c="dimmed">{replica.nack_detail}</Text>}
              </Table.Td>
              <Table.Td className="num">{replica.version ?? '–'}</Table.Td>
              <Table.Td className="num" ta="right">{replica.lag_ms === null ? '–' : duration(replica.lag_ms)}</Table.Td>
              <Table.Td>{recent === undefined ? '–' : <LagLine lags={lagsOf(recent, replica)} />}</Table.Td>
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

/** As a strip and as a histogram; the table has the same numbers and links for everybody, and says who did what. */
function Arrivals({ recent: { arrivals, replicas, bound_ms } }: { recent: Recent }) {
  const place = usePlace();
  const { data: changes } = useQuery(recentChanges(place, 40));
  const done = new Map((changes?.audit ?? []).map((entry) => [versionOf(entry), summary(entry)]));
  if (arrivals.length === 0) return <Empty>Nothing was changed here yet.</Empty>;
  return (
    <>
      {replicas.length > 0 && (
        <Stack className="surface" p="md" gap="md">
          <ArrivalStrip arrivals={arrivals} replicas={replicas} place={place} />
          <ArrivalHistogram arrivals={arrivals} boundMs={bound_ms} />
        </Stack>
      )}
      <DataTable label="Lags by version and replica" width={560 + replicas.length * 90} columns={['Version', 'Change', 'Signed', ...[...replicas.map(replicaName), 'Everywhere'].map((title) => ({ title, ends: true }))]}>
        {arrivals.map(({ version, created_ms, lags_ms, everywhere_ms }) => (
          <Table.Tr key={version}>
            <Table.Td><TextLink to="/$project/$environment/changes/$version" params={{ ...place, version }} size="sm" className="num">{version}</TextLink></Table.Td>
            <Table.Td>{done.get(version) ?? '–'}</Table.Td>
            <Table.Td><Time ms={created_ms} /></Table.Td>
            {[...lags_ms, everywhere_ms].map((lag, at) => <Table.Td key={at} className="num" ta="right" style={{ whiteSpace: 'nowrap' }}>{lagInWords(lag)}</Table.Td>)}
          </Table.Tr>
        ))}
      </DataTable>
    </>
  );
}
