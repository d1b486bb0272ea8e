// What fuses were good for, on one page that prints.
import { Group, SimpleGrid, Table, Text } from '@mantine/core';
import { queryOptions, useQuery } from '@tanstack/react-query';
import { change, count, duration, share } from '../model/words.ts';
import { api, data, type Schemas } from '../api';
import { Ago, Empty, Figure, Loaded, Row, Rows, Section, TextLink, Time } from '../parts';
import { DataTable } from '../parts/table';

const launches = () =>
  queryOptions({ queryKey: ['overview', null, null, 'launches'], queryFn: ({ signal }) => data(api.GET('/v1/overview/launches', { signal })), staleTime: 30_000 });

const time = (ms: number | null) => (ms === null ? '–' : duration(ms));

export function Executive() {
  return (
    <Loaded query={useQuery(launches())}>
      {(all) => (
        <>
          <Text size="sm" c="dimmed">Since <Time ms={all.since_ms} />, all environments that you may see. What a request costs is not known here.</Text>
          <SimpleGrid cols={{ base: 2, md: 4 }} spacing="sm">
            <Figure label="Launches guarded" value={count(all.launches_guarded)} about="attempts under a fuse" />
            <Figure label="Trips" value={count(all.trips)} about={`${count(all.people_exposed)} people saw such a feature`} />
            <Figure label="People spared" value={count(all.people_spared)} about="asked while it did harm, and did not see it" />
            <Figure label="First harm → live everywhere" value={time(all.harm_to_live_ms_median)} about={`from the first exposure ${time(all.exposure_to_live_ms_median)}; the middle one`} />
            <Figure label="Flags" value={count(all.flags)} about={`${count(all.flags_unchanged)} that nobody changed for 90 days`} />
          </SimpleGrid>
          <Section title="What running fuses find"><Differences differences={all.differences} /></Section>
          <Section title="Objectives"><Objectives objectives={all.objectives} /></Section>
        </>
      )}
    </Loaded>
  );
}

function Differences({ differences }: { differences: Schemas['Difference'][] }) {
  if (differences.length === 0) return <Empty>No fuse has found a difference yet.</Empty>;
  return (
    <DataTable label="What running fuses find" width={560} columns={['Flag', 'Metric', 'Change', 'Between, with 95 %', 'Looked at']}>
      {differences.map((one) => (
        <Table.Tr key={`${one.project}/${one.environment}/${one.flag}/${one.metric}`}>
          <Table.Td>
            <Group gap="xs">
              <TextLink to="/$project/$environment/flags/$flag/fuse" params={{ project: one.project, environment: one.environment, flag: one.flag }} size="sm">{one.flag}</TextLink>
              <Text span size="xs" c="dimmed">{one.project} / {one.environment}</Text>
            </Group>
          </Table.Td>
          <Table.Td>{one.metric}</Table.Td>
          <Table.Td className="num">{change(one.change)}</Table.Td>
          <Table.Td className="num">{one.lower === null && one.upper === null ? 'nothing excluded yet' : `${one.lower === null ? '…' : change(one.lower)} to ${one.upper === null ? '…' : change(one.upper)}`}</Table.Td>
          <Table.Td><Ago ms={one.at_ms} /></Table.Td>
        </Table.Tr>
      ))}
    </DataTable>
  );
}

function Objectives({ objectives }: { objectives: Schemas['Objective'][] }) {
  return (
    <Rows label="Objectives" empty="No objective yet.">
      {objectives.map((one) => (
        <Row key={`${one.project}/${one.environment}/${one.name}`} end={<Text size="sm">{share(one.budget_left)} of the budget left</Text>}>
          <Text size="sm"><b>{one.name}</b> in {one.project} / {one.environment}</Text>
        </Row>
      ))}
    </Rows>
  );
}
