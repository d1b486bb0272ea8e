// One's own sessions and password.
import { Button, Stack, Text } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, asProblem, data } from '../api';
import { Password } from '../frame/SignIn';
import { Ago, Chip, Loaded, Opens, ProblemNote, Row, Rows, Section, Time } from '../parts';
import { useSession } from '../session/session';

export function Me() {
  const { who } = useSession();
  const queries = useQueryClient();
  const query = useQuery({ queryKey: ['sessions'], queryFn: ({ signal }) => data(api.GET('/v1/sessions', { signal })) });
  const end = useMutation({
    mutationFn: (session_id: string) => data(api.DELETE('/v1/sessions/{session_id}', { params: { path: { session_id } } })),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['sessions'] }),
  });
  return (
    <Stack gap="lg">
      <Section title={`Signed in as ${who?.name ?? ''}`} actions={<Opens label="Another password …">{(close) => <Password onClose={close} />}</Opens>}>{null}</Section>
      <Section title="Sessions" about="each ends 12 hours after its last use, and after 7 days">
        {end.error !== null && <ProblemNote problem={asProblem(end.error)} />}
        <Loaded query={query} lines={2}>
          {({ sessions }) => (
            <Rows label="Sessions">
              {sessions.map(({ session_id: id, is_this, opened_by, created_ms, used_ms }) => (
                <Row key={id} end={!is_this && <Button variant="default" loading={end.isPending && end.variables === id} onClick={() => end.mutate(id)}>End it</Button>}>
                  {is_this && <Chip tone="good">this one</Chip>}
                  <Text size="sm" component="span">by {opened_by}, begun <Time ms={created_ms} />, used <Ago ms={used_ms} /></Text>
                </Row>
              ))}
            </Rows>
          )}
        </Loaded>
      </Section>
    </Stack>
  );
}
