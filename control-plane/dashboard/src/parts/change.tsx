// What a change answers beside "done": a question to confirm, another state than the one that was seen, a refusal.
import { Alert, Button, Group, Stack, Text } from '@mantine/core';
import { capital, type Change } from '../api';
import { WhoFlips } from '../flags/WhoFlips';
import { ProblemNote } from './states';

/** Shows nothing while a change is idle, sent or done. `onDone` is called once a confirmed or repeated change is through. */
export function ChangeNote<T>({ change, onDone, onStale }: { change: Change<T>; onDone?: () => void; onStale?: () => void }) {
  const { state } = change;
  const then = (sent: Promise<boolean>) => void sent.then((done) => (done ? onDone?.() : undefined));
  if (state.step === 'failed') return <ProblemNote problem={state.problem} />;
  if (state.step === 'stale') {
    return (
      <Alert color="yellow" role="alert" title="Somebody else changed this meanwhile">
        <Stack gap="xs">
          <Text size="sm">Nothing of yours was stored. Look at what is there now, or put yours in its place.</Text>
          <Group gap="xs">
            <Button variant="default" onClick={() => (onStale ?? change.reset)()}>Show what is there</Button>
            <Button variant="light" color="red" onClick={() => then(change.overwrite())}>Put mine in its place</Button>
          </Group>
        </Stack>
      </Alert>
    );
  }
  if (state.step !== 'confirm') return null;
  return (
    <Alert color="yellow" role="alert" title="This changes much">
      <Stack gap="xs">
        <Text size="sm">{capital(state.problem.message)}</Text>
        <WhoFlips diff={state.diff ?? []} />
        <Group gap="xs">
          <Button onClick={() => then(change.confirm())}>Do it</Button>
          <Button variant="default" onClick={change.reset}>Leave it</Button>
        </Group>
      </Stack>
    </Alert>
  );
}
