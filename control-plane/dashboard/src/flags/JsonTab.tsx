// The flag as its document, editable: what is typed here is the same edit as on the rail, saved the same way.
import { Alert, Button, Group, Stack, Text } from '@mantine/core';
import { lazy, Suspense } from 'react';
import { useText, Waiting } from '../parts';
import { parseFlag } from '../model/shape.ts';
import { same, type JsonObject } from '../model/json.ts';
import { useReport } from './faults';

const JsonEditor = lazy(() => import('./JsonEditor').then(({ JsonEditor }) => ({ default: JsonEditor })));

interface JsonTabProps { doc: JsonObject; flagKey: string; isDisabled: boolean; onChange: (doc: JsonObject) => void }

export function JsonTab({ doc, flagKey, isDisabled, onChange }: JsonTabProps) {
  const { text, why, isTyped, type, forget } = useText<JsonObject>({ value: doc, onChange, print: (one) => JSON.stringify(one, null, 2), read: (typed) => parseFlag(typed, flagKey), isSame: same });
  useReport(why);
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed">The document that the API reads and writes. `cohort` is the fuse’s and stays as it is.</Text>
      <Suspense fallback={<Waiting lines={8} />}><JsonEditor label="The flag as JSON" text={text} isDisabled={isDisabled} onType={type} /></Suspense>
      {why === null ? null : <Alert color="red" py="xs" role="alert" className="break">{why}</Alert>}
      {isTyped ? <Group><Button variant="default" onClick={forget}>Format</Button></Group> : null}
    </Stack>
  );
}
