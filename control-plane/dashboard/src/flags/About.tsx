// What people say of a flag. No snapshot carries any of it; it is the same in all environments.
import { Button, Checkbox, Group, NativeSelect, Stack, TagsInput, Text, TextInput, Textarea } from '@mantine/core';
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { asProblem, type Place } from '../api';
import { Loaded, ProblemNote } from '../parts';
import { useMayEdit } from '../session/session';
import { same, type Json } from '../model/json.ts';
import { detailsOf, NO_DETAILS, saveDetails, type Details } from './reads';

const KINDS = [{ value: '', label: 'not said' }, { value: 'release', label: 'release' }, { value: 'experiment', label: 'experiment' }, { value: 'ops', label: 'ops' }, { value: 'permission', label: 'permission' }];

export function About({ place, flagKey }: { place: Place; flagKey: string }) {
  const queries = useQueryClient();
  const query = useQuery(detailsOf(place.project, flagKey));
  const known = query.data?.get(flagKey);
  const [edited, setEdited] = useState<Details | null>(null);
  const details = edited ?? known?.details ?? NO_DETAILS;
  const saved = useMutation({
    mutationFn: () => saveDetails(place.project, flagKey, details, known),
    onSuccess: async () => {
      await Promise.all(['flag-details', 'flags', 'flag', 'audit'].map((name) => queries.invalidateQueries({ queryKey: [name, place.project] })));
      setEdited(null);
    },
  });
  const isDisabled = !useMayEdit({ project: place.project });
  const set = (part: Partial<Details>) => setEdited({ ...details, ...part });
  const isDirty = edited !== null && !same(edited as unknown as Json, (known?.details ?? NO_DETAILS) as unknown as Json);
  return (
    <Loaded query={query}>
      {() => (
        <form onSubmit={(event) => { event.preventDefault(); if (isDirty) saved.mutate(); }}>
          <Stack gap="sm" maw={640}>
            <Text size="sm" c="dimmed">The same in every environment of {place.project}; nothing that is served changes with it.{isDisabled ? ' Changing it takes the role editor in the project.' : ''}</Text>
            <Group grow align="flex-start">
              <TextInput label="Name" value={details.name} disabled={isDisabled} onChange={(event) => set({ name: event.currentTarget.value })} />
              <TextInput label="Owner" placeholder="team-checkout" value={details.owner} disabled={isDisabled} onChange={(event) => set({ owner: event.currentTarget.value })} />
            </Group>
            <Textarea label="Description" rows={2} value={details.description} disabled={isDisabled} onChange={(event) => set({ description: event.currentTarget.value })} />
            <TagsInput label="Tags" description="20 at most" maxTags={20} value={details.tags} disabled={isDisabled} onChange={(tags) => set({ tags })} />
            <Group align="flex-end">
              <NativeSelect label="Kind" w={160} data={KINDS} value={details.kind ?? ''} disabled={isDisabled} onChange={(event) => set({ kind: event.currentTarget.value === '' ? null : (event.currentTarget.value as Details['kind']) })} />
              <TextInput type="date" label="To be gone by" w={180} value={details.expires_ms === null ? '' : new Date(details.expires_ms).toISOString().slice(0, 10)} disabled={isDisabled} onChange={(event) => set({ expires_ms: event.currentTarget.value === '' ? null : Date.parse(event.currentTarget.value) })} />
              <Checkbox label="Archived" pb={8} checked={details.archived} disabled={isDisabled} onChange={(event) => set({ archived: event.currentTarget.checked })} />
            </Group>
            {saved.error === null ? null : <ProblemNote problem={asProblem(saved.error)} />}
            {isDisabled ? null : <Group gap="xs"><Button type="submit" disabled={!isDirty} loading={saved.isPending}>Save</Button>{isDirty ? <Button variant="subtle" color="gray" onClick={() => setEdited(null)}>Discard</Button> : null}</Group>}
          </Stack>
        </form>
      )}
    </Loaded>
  );
}
