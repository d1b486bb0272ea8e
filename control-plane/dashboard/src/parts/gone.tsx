// A thing that is not there, or not for the caller: the same page for both, with a way back.
import { Group, Stack, Text, Title } from '@mantine/core';
import type { Place } from '../api';
import { ButtonLink, TextLink } from './links';
import { Page } from './page';
import { Empty } from './states';

export function NotFound() {
  return (
    <Stack gap="xs" p="md">
      <Title order={1}>There is nothing here</Title>
      <Text size="sm">It may have been deleted, renamed, or be something that you may not see.</Text>
      <TextLink to="/" size="sm">To the overview</TextLink>
    </Stack>
  );
}

/** The same on a screen of an environment, where it is known what was asked for. */
export function GoneNote({ place, what }: { place: Place; what: string }) {
  return (
    <Page title="Not found">
      <Empty action={<Group gap="xs"><ButtonLink variant="default" to="/$project/$environment/flags" params={place}>All flags</ButtonLink><ButtonLink variant="default" to="/$project/$environment/audit" params={place}>What happened</ButtonLink></Group>}>
        <span className="break"><bdi>{what}</bdi></span> is not in {place.environment}, or not for you to see. The audit trail tells whether it was deleted.
      </Empty>
    </Page>
  );
}
