// Who may sign snapshots, and what a rotation waits for. Read only: keys are turned where they are kept.
import { Alert, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, data, type Schemas } from '../api';
import { Asked, Chip, Row, Rows, Snippet, span, Time, useNow } from '../parts';

const ROTATION: Record<Schemas['RotationState'], string> = {
  done: 'No rotation is under way.',
  publishing: 'A rotation is under way: environments are published anew.',
  due: 'A rotation is due.',
  waiting_for_replicas: 'A rotation waits for replicas.',
  waiting_for_forked_environments: 'A rotation waits for environments whose database is behind.',
  another_process: 'Another process rotates.',
};

export function KeyStatus() {
  const query = useQuery({ queryKey: ['keys'], queryFn: ({ signal }) => data(api.GET('/v1/keys', { signal })), refetchInterval: 30_000 });
  const now = useNow(60_000);
  return (
    <Asked title="Keys" about="turned with the command line, where they are kept" query={query}>
      {(keys) => (
        <Stack gap="sm">
          {keys.warnings.map((warning) => <Alert color="yellow" key={warning}>{warning}</Alert>)}
          <Rows label="Keys">
            <Row end={<Text size="sm">ends <Time ms={keys.expires_ms} />, in {span(keys.expires_ms - now)}</Text>}>
              <Text size="sm">Keyset <span className="num">{keys.keyset_version}</span></Text>
            </Row>
            {([['Root', keys.root], ['Release', keys.release], ['Freshness', keys.freshness]] as const).map(([name, role]) => (
              <Row key={name} end={<Chip tone="quiet">{role.at_hand.length === 0 ? 'kept elsewhere' : `${role.at_hand.length} at hand`}</Chip>}>
                <Text size="sm">
                  {name}: <span className="num">{role.threshold}</span> of <span className="num">{role.key_ids.length}</span> signs
                </Text>
                {role.key_ids.map((id) => <Text key={id} size="xs" className="mono">{id.slice(0, 12)}…</Text>)}
              </Row>
            ))}
            <Row><Text size="sm">{ROTATION[keys.rotation.state]}</Text></Row>
          </Rows>
          <Text size="sm">Root public keys, which edges are given:</Text>
          <Snippet text={keys.root_public_keys.join(',')} label="Root public keys" />
        </Stack>
      )}
    </Asked>
  );
}
