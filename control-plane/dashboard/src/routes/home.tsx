// `/`: the environment that was open last, or the first one; a tenant without any is told how to make one.
import { Center, Loader, Stack, Text, Title } from '@mantine/core';
import { Navigate } from '@tanstack/react-router';
import { asProblem, usePlaces } from '../api';
import { ProblemNote, Snippet } from '../parts';
import { isProduction } from './place';

export function Home() {
  const { places, isPending, error, retry } = usePlaces();
  if (error !== null) return <ProblemNote problem={asProblem(error)} retry={retry} />;
  if (isPending) return <Center mih="60vh"><Loader aria-label="Loading" /></Center>;
  const first = places.find((place) => isProduction(place.environment)) ?? places[0];
  if (first !== undefined) return <Navigate to="/$project/$environment" params={{ ...first }} replace />;
  return (
    <Stack p="xl" maw={640} component="main">
      <Title order={1}>Nothing here yet</Title>
      <Text size="sm">Flags live in an environment of a project. Make the first one:</Text>
      <Snippet
        text={`curl -X POST ${window.location.origin}/v1/projects -H "Authorization: Bearer $ADMIN" -d '{"key": "shop"}'
curl -X POST ${window.location.origin}/v1/projects/shop/environments -H "Authorization: Bearer $ADMIN" -d '{"key": "production"}'`}
      />
    </Stack>
  );
}
