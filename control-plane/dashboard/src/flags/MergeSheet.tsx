// Somebody published meanwhile: yours, theirs and the result by field. What only one side changed needs no answer.
import { Alert, Button, Group, Modal, Radio, Stack, Text } from '@mantine/core';
import { useMemo, useState } from 'react';
import { diff } from '../model/diff.ts';
import { isObject, pointerOf, short, type JsonObject } from '../model/json.ts';
import { merge, type FieldConflict, type Side } from '../model/merge.ts';
import { pathInWords } from '../model/diff.ts';
import { counted } from '../model/words.ts';
import { FieldDiff } from './FieldDiff';

interface MergeSheetProps { base: JsonObject; yours: JsonObject; theirs: JsonObject; onTake: (result: JsonObject) => void; onDiscard: () => void; onClose: () => void }

export function MergeSheet({ base, yours, theirs, onTake, onDiscard, onClose }: MergeSheetProps) {
  const [choices, setChoices] = useState<ReadonlyMap<string, Side>>(new Map());
  const merged = useMemo(() => merge(base, yours, theirs, choices), [base, yours, theirs, choices]);
  const theirChanges = useMemo(() => diff(base, theirs), [base, theirs]);
  const remaining = useMemo(() => diff(theirs, merged.result), [theirs, merged.result]);
  const choose = (conflict: FieldConflict, side: Side) => setChoices((old) => new Map(old).set(pointerOf(conflict.path), side));
  return (
    <Modal opened onClose={onClose} title="Somebody published this flag meanwhile" size="xl">
      <Stack gap="md">
        <Alert color={merged.conflicts.length === 0 ? 'green' : 'yellow'} py="xs">
          {merged.conflicts.length === 0
            ? 'Both edits touch different fields: together they lose nothing.'
            : `${counted(merged.conflicts.length, 'field was', 'fields were')} changed by both. Choose for each; everything else is put together by itself.`}
        </Alert>
        {merged.conflicts.map((conflict) => <Conflict key={pointerOf(conflict.path)} conflict={conflict} side={choices.get(pointerOf(conflict.path))} onChoose={(side) => choose(conflict, side)} />)}
        <Stack gap={4}><Text size="sm" fw={600}>They changed</Text>{theirChanges.length === 0 ? <Text size="sm" c="dimmed">Nothing that still differs.</Text> : <FieldDiff changes={theirChanges} />}</Stack>
        <Stack gap={4}><Text size="sm" fw={600}>The result changes, of what is there now</Text>{remaining.length === 0 ? <Text size="sm" c="dimmed">Nothing: theirs says all that yours does.</Text> : <FieldDiff changes={remaining} />}</Stack>
        <Group justify="flex-end" gap="xs">
          <Button variant="subtle" color="red" onClick={onDiscard}>Throw mine away</Button>
          <Button variant="default" onClick={onClose}>Later</Button>
          <Button data-autofocus disabled={merged.open > 0} onClick={() => { if (isObject(merged.result)) onTake(merged.result); }}>{merged.open > 0 ? `${counted(merged.open, 'choice')} left` : 'Take the result'}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function Conflict({ conflict, side, onChoose }: { conflict: FieldConflict; side: Side | undefined; onChoose: (side: Side) => void }) {
  return (
    <Radio.Group className="surface" p="sm" label={<bdi>{pathInWords(conflict.path)}</bdi>} description={`It was ${short(conflict.base, 160)}.`} value={side ?? ''} onChange={(value) => onChoose(value as Side)}>
      <Stack gap={6} mt={8}>
        <Radio size="xs" value="yours" label={<>Yours: <bdi className="break">{short(conflict.yours, 240)}</bdi></>} />
        <Radio size="xs" value="theirs" label={<>Theirs: <bdi className="break">{short(conflict.theirs, 240)}</bdi></>} />
      </Stack>
    </Radio.Group>
  );
}
