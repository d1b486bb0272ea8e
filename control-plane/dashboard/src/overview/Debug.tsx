// All environments in figures: versions, receipts, how far everything is counted, and the answers that they are made of.
import { Anchor, Table } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { count, duration } from '../model/words.ts';
import { asProblem, basePath, type Place, propagation, telemetryHealth, usePlaces } from '../api';
import { ProblemNote, span, TextLink, useNow, Waiting } from '../parts';
import { DataTable } from '../parts/table';

export function Debug() {
  const { places, isPending, error, retry } = usePlaces();
  if (error !== null) return <ProblemNote problem={asProblem(error)} retry={retry} />;
  if (isPending) return <Waiting />;
  return (
    <DataTable label="Environments" width={900} columns={['Environment', 'Version', 'Replicas', 'Slowest', 'Complete up to', 'Events', 'Missing', 'Refused', 'Behind', 'As JSON']}>
      {places.map((place) => <Row key={`${place.project}/${place.environment}`} place={place} />)}
    </DataTable>
  );
}

function Row({ place }: { place: Place }) {
  const now = useNow();
  const where = useQuery(propagation(place)).data;
  const health = useQuery(telemetryHealth(place)).data;
  const balance = health?.balance;
  const through = health?.complete_up_to_ms ?? null;
  const raw = `${basePath()}v1/projects/${encodeURIComponent(place.project)}/environments/${encodeURIComponent(place.environment)}`;
  const cells = [
    where?.version ?? '…',
    where === undefined ? '…' : `${where.replicas_acked}/${where.replicas_total}`,
    where?.slowest_ms == null ? '–' : duration(where.slowest_ms),
    through === null ? '–' : `${span(now - through)} ago`,
    balance === undefined ? '…' : count(balance.received),
    balance === undefined ? '…' : count(balance.received - balance.stored - balance.duplicate - balance.quarantined),
    balance === undefined ? '…' : count(balance.quarantined),
    health === undefined ? '…' : count(health.buffers_behind.length),
  ];
  return (
    <Table.Tr style={{ whiteSpace: 'nowrap' }}>
      <Table.Td>
        <TextLink to="/$project/$environment/propagation" params={{ ...place }} size="sm">{place.project} / {place.environment}</TextLink>
      </Table.Td>
      {cells.map((cell, at) => <Table.Td key={at} className="num">{cell}</Table.Td>)}
      <Table.Td>
        {['propagation', 'telemetry-health', 'fuses'].map((name) => (
          <Anchor key={name} href={`${raw}/${name}`} target="_blank" size="xs" mr="md" lh="24px" display="inline-block">{name}</Anchor>
        ))}
      </Table.Td>
    </Table.Tr>
  );
}
