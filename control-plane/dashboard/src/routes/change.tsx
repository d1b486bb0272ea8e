// One change: who did what, and its receipts as they arrive.
import { Group, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { replicaName } from '../model/arrivals.ts';
import { duration } from '../model/words.ts';
import { change, type Schemas } from '../api';
import { isSettled, receiptWords } from '../flags/RehearsedSheet';
import { Chip, Loaded, Page, Section, Snippet, Time } from '../parts';
import { DataTable } from '../parts/table';
import { summary } from './audit-words';
import { usePlace } from './place';

type ReplicaArrival = Schemas['ReplicaArrival'];

export function ChangeScreen() {
  const place = usePlace();
  const { version = 'latest' } = useParams({ strict: false });
  const query = useQuery({ ...change(place, version), refetchInterval: (query) => (query.state.data !== undefined && isSettled(query.state.data) ? false : 500) });
  return (
    <Page title={`Change ${query.data?.version ?? version}`}>
      <Loaded query={query}>
        {(arrival) => (
          <Stack gap="md">
            <Stack className="surface" p="md" gap={4}>
              <Text size="lg">{summary(arrival.change)}</Text>
              <Text size="sm" c="dimmed" component="div">
                <Time ms={arrival.change.at_ms} /> · audit row <span className="num">#{arrival.change.audit_id}</span>
              </Text>
              <Text size="sm" role="status">
                {receiptWords(arrival)}
                {arrival.guaranteed_live_at_ms === null ? null : <> Guaranteed since <Time ms={arrival.guaranteed_live_at_ms} />.</>}
              </Text>
            </Stack>
            <Section title="Receipts" about="One a replica: exactly this version, with exactly these bytes, stored.">
              <Receipts replicas={arrival.replicas} startMs={arrival.change.at_ms} />
            </Section>
            <Section title="As it is kept"><Snippet text={JSON.stringify(arrival.change.detail, null, 2)} label="Detail of the audit row" /></Section>
          </Stack>
        )}
      </Loaded>
    </Page>
  );
}

function Receipts({ replicas, startMs }: { replicas: ReplicaArrival[]; startMs: number }) {
  const slowest = Math.max(1, ...replicas.map((replica) => (replica.stored_ms ?? startMs) - startMs));
  return (
    <DataTable label="Receipts" width={560} columns={['Replica', { title: 'From the change to the store', width: '40%' }, 'Holds', 'Receipt']}>
      {replicas.map((replica) => (
        <Table.Tr key={replicaName(replica)}>
          <Table.Td>{replica.region} / <span className="num">{replica.shard}</span></Table.Td>
          <Table.Td><Way replica={replica} startMs={startMs} slowest={slowest} /></Table.Td>
          <Table.Td className="num">{replica.through ?? '–'}</Table.Td>
          <Table.Td>{replica.acked_ms === null ? '–' : <Time ms={replica.acked_ms} />}</Table.Td>
        </Table.Tr>
      ))}
    </DataTable>
  );
}

function Way({ replica, startMs, slowest }: { replica: ReplicaArrival; startMs: number; slowest: number }) {
  if (replica.nack_code !== null && replica.stored_ms === null) return <Chip tone="bad">{`refuses: ${replica.nack_code}`}</Chip>;
  if (replica.waiting_for_stage) return <Chip tone="quiet">waits for an earlier stage</Chip>;
  if (replica.stored_ms === null) return <Chip tone="warn">waiting</Chip>;
  const took = Math.max(0, replica.stored_ms - startMs);
  return (
    <Group gap="xs" wrap="nowrap">
      <svg width="100%" height="8" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" style={{ maxWidth: 260 }}>
        <rect width="100" height="8" fill="var(--ff-line)" />
        <rect width={Math.max(1, (took / slowest) * 100)} height="8" fill="var(--ff-good)" />
      </svg>
      <span className="num">{duration(took)}</span>
    </Group>
  );
}
