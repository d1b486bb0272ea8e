// Where the edge is, and a client key to ask it with: made here once, shown here once, kept by nobody.
import { Alert, Button, Group, Text } from '@mantine/core';
import { skipToken, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api, asProblem, AT, data, propagation } from '../api';
import { ProblemNote } from '../parts';
import { usePlace } from '../routes/place';
import { useCan } from '../session/session';

/** The edge's address, or what stands for it. */
export function useEdge(): string {
  const { data } = useQuery(propagation(usePlace()));
  return data?.edges[0]?.replace(/\/$/, '') ?? 'https://YOUR-EDGE';
}

/** The client key that was made on this page, `$KEY` before, and the button that makes one. */
export function useKey(): { key: string; make: ReactNode } {
  const place = usePlace();
  const can = useCan();
  const queries = useQueryClient();
  // Kept until the page is left, and asked of nobody.
  const queryKey = ['made-key', place.project, place.environment];
  const { data: key } = useQuery<string>({ queryKey, queryFn: skipToken, gcTime: Infinity });
  const create = useMutation({
    mutationFn: () => data(api.POST(`${AT}/tokens`, { params: { path: place }, body: { name: 'first steps', kind: 'client' } })),
    onSuccess: ({ token }) => queries.setQueryData(queryKey, token),
  });
  const mayMake = can('administer', place.project, place.environment);
  const make =
    key !== undefined ? (
      <Alert color="yellow" py="xs">This client key is shown only until you leave this page. It is publishable, and revoked in the settings.</Alert>
    ) : (
      <>
        {create.error !== null && <ProblemNote problem={asProblem(create.error)} />}
        <Group gap="xs">
          <Text size="sm" flex={1}>
            {mayMake ? 'With a client key of this environment: the one that `up` printed, or a new one.' : 'With a client key of this environment; who administers it can make one.'}
          </Text>
          {mayMake && <Button variant="default" loading={create.isPending} onClick={() => create.mutate()}>Make a key and fill it in</Button>}
        </Group>
      </>
    );
  return { key: key ?? '$KEY', make };
}
