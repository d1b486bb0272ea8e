// What a change answers beside "done": a question to confirm, another state than the one that was seen, a refusal.
import { Alert, Button, Group, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';
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
      <Question title="Somebody else changed this meanwhile" text="Nothing of yours was stored. Look at what is there now, or put yours in its place.">
        <Button variant="default" onClick={() => (onStale ?? change.reset)()}>Show what is there</Button>
        <Button variant="light" color="red" onClick={() => then(change.overwrite())}>Put mine in its place</Button>
      </Question>
    );
  }
  if (state.step !== 'confirm') return null;
  return (
    <Question title="This changes much" text={capital(state.problem.message)} more={<WhoFlips diff={state.diff ?? []} />}>
      <Button onClick={() => then(change.confirm())}>Do it</Button>
      <Button variant="default" onClick={change.reset}>Leave it</Button>
    </Question>
  );
}

function Question({ title, text, more, children }: { title: string; text: string; more?: ReactNode; children: ReactNode }) {
  return (
    <Alert color="yellow" role="alert" title={title}>
      <Stack gap="xs"><Text size="sm">{text}</Text>{more}<Group gap="xs">{children}</Group></Stack>
    </Alert>
  );
}
