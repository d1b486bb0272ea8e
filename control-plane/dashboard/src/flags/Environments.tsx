// One flag in all environments of its project: what it does there, what differs, and the way to bring it over.
import { Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type ChangeHeaders, data, type Place, type Schemas, useChange } from '../api';
import { Ago, Chip, CircuitChip, Empty, Loaded, Opens, Row, Rows, TextLink } from '../parts';
import { useMayEdit } from '../session/session';
import { pointerParts, type Json } from '../model/json.ts';
import { copyTo } from './reads';
import { FieldDiff } from './FieldDiff';
import { RehearsedSheet } from './RehearsedSheet';

export function Environments({ place, flagKey }: { place: Place; flagKey: string }) {
  const query = useQuery({
    queryKey: ['flags', place.project, undefined, 'matrix', flagKey],
    queryFn: async ({ signal }) => {
      const matrix = await data(api.GET('/v1/projects/{project}/flag-matrix', { params: { path: { project: place.project }, query: { q: flagKey } }, signal }));
      return { environments: matrix.environments, cells: matrix.flags.find((one) => one.key === flagKey)?.cells ?? {} };
    },
  });
  return (
    <Loaded query={query}>
      {({ environments, cells }) => (
        <Stack gap="md">
          <Rows label="Environments">
            {environments.map((environment) => <EnvironmentRow key={environment} place={place} flagKey={flagKey} environment={environment} cell={Object.hasOwn(cells, environment) ? cells[environment] : undefined} />)}
          </Rows>
          {environments.length < 2 ? <Empty>The project has one environment. With another one, this is where they are compared.</Empty> : <Compare place={place} flagKey={flagKey} others={environments.filter((one) => one !== place.environment)} cells={cells} />}
        </Stack>
      )}
    </Loaded>
  );
}

function EnvironmentRow({ place, flagKey, environment, cell }: { place: Place; flagKey: string; environment: string; cell: Schemas['MatrixCell'] | undefined }) {
  return (
    <Row>
      <Text size="sm" miw={120} fw={environment === place.environment ? 600 : 400}>{cell === undefined ? environment : <TextLink to="/$project/$environment/flags/$flag" params={{ project: place.project, environment, flag: flagKey }}>{environment}</TextLink>}</Text>
      {cell === undefined ? <Text size="sm" c="dimmed">not there</Text> : (
        <>
          <Chip tone={cell.state === 'on' ? 'good' : 'quiet'}>{cell.state}</Chip>
          <Text size="sm" flex={1} miw={160} className="break"><bdi>{cell.sentence}</bdi></Text>
          {cell.circuit === null ? null : <CircuitChip circuit={cell.circuit} />}
          {cell.inherited ? <Chip tone="quiet">the project’s</Chip> : null}
          <Text size="sm" c="dimmed"><Ago ms={cell.changed_ms} /></Text>
        </>
      )}
    </Row>
  );
}

interface CompareProps { place: Place; flagKey: string; others: readonly string[]; cells: Record<string, Schemas['MatrixCell']> }

function Compare({ place, flagKey, others, cells }: CompareProps) {
  const [other, setOther] = useState(others[0] ?? '');
  const mayCopy = useMayEdit({ project: place.project, environment: other });
  const there = Object.hasOwn(cells, other) ? cells[other] : undefined;
  const query = useQuery({
    queryKey: ['flags', place.project, undefined, 'diff', flagKey, place.environment, other],
    queryFn: ({ signal }) => data(api.GET('/v1/projects/{project}/environments/{environment}/flags/{flag}/diff', { params: { path: { ...place, flag: flagKey }, query: { with: other } }, signal })),
    enabled: there !== undefined,
  });
  return (
    <Stack gap="sm">
      <Group align="flex-end" gap="sm">
        <NativeSelect label={`Compare ${place.environment} with`} w={220} data={[...others]} value={other} onChange={(event) => setOther(event.currentTarget.value)} />
        {mayCopy ? <Opens label={`Bring to ${other} …`}>{(close) => <CopySheet place={place} flagKey={flagKey} environment={other} revision={there?.revision ?? null} onClose={close} />}</Opens> : null}
      </Group>
      {there === undefined ? <Text size="sm" c="dimmed">{`${other} does not have this flag.`}</Text> : (
        <Loaded query={query} lines={2}>
          {({ differences }) => differences.length === 0 ? <Text size="sm">Both say the same, but for what a fuse manages.</Text> : (
            <FieldDiff label={`From ${other} to ${place.environment}`} changes={differences.map((one) => ({ path: pointerParts(one.pointer), kind: 'altered', before: one.right as Json | undefined, after: one.left as Json | undefined }))} />
          )}
        </Loaded>
      )}
    </Stack>
  );
}

function CopySheet({ place, flagKey, environment, revision, onClose }: { place: Place; flagKey: string; environment: string; revision: number | null; onClose: () => void }) {
  const headers: ChangeHeaders = revision === null ? { 'if-none-match': '*' } : { 'if-match': `"${revision}"` };
  const change = useChange(async (given) => (await copyTo(place, flagKey, environment, { ...headers, ...given }, false)) as Schemas['Made'], ['flags', 'flag', 'audit'].map((name) => [name, place.project]));
  const rehearsal = useQuery({ queryKey: ['copy', place.project, place.environment, flagKey, environment, revision], queryFn: async () => (await copyTo(place, flagKey, environment, headers, true)) as Schemas['Rehearsal'], enabled: change.state.step === 'idle', retry: false, gcTime: 0 });
  return (
    <RehearsedSheet
      title={`Bring ${flagKey} from ${place.environment} to ${environment}`} verb={`Publish in ${environment}`} place={{ ...place, environment }} change={change} rehearsal={rehearsal}
      isReady={rehearsal.data !== undefined} onStale={onClose} onClose={onClose}
    />
  );
}
