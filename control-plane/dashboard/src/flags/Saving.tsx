// Saving an edit: the bar that says what is not saved, the review from which it is published, and the merge where somebody was faster.
import { Alert, Button, Group, Kbd, Modal, Radio, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useHotkeys } from '@mantine/hooks';
import { useMemo, useState } from 'react';
import { asProblem, capital, type ChangeHeaders, type Place, type Problem, touching, useChange } from '../api';
import { isProduction } from '../routes/place';
import { isObject, type JsonObject, pointerOf, short } from '../model/json.ts';
import { counted } from '../model/words.ts';
import { diff, pathInWords } from '../model/diff.ts';
import { type FieldConflict, merge, type Side } from '../model/merge.ts';
import type { Draft, RehearsalState } from './draft';
import { FieldDiff } from './FieldDiff';
import { publish } from './reads';
import { RehearsedSheet } from './RehearsedSheet';

interface ReviewSheetProps {
  place: Place;
  flagKey: string;
  draft: Draft;
  isInherited: boolean;
  rehearsal: RehearsalState;
  onTry: (context: JsonObject) => void;
  onStale: (problem: Problem) => void;
  onSending: (isSending: boolean) => void;
  onClose: () => void;
}

/** The one place from which an edit is published: what changes, who flips, then the receipt fills in place. */
export function ReviewSheet({ place, flagKey, draft, isInherited, rehearsal, onTry, onStale, onSending, onClose }: ReviewSheetProps) {
  const queries = useQueryClient();
  const { answer } = rehearsal;
  const send = async (headers: ChangeHeaders) => {
    onSending(true);
    try {
      // Who flips stands above: publishing is the confirmation that is asked for.
      const confirmed: ChangeHeaders = answer?.confirmation_needed === true && answer.confirmation != null ? { 'x-flagfuse-confirm': answer.confirmation } : {};
      const { data } = await publish(place, { key: flagKey, base: draft.base, doc: draft.doc, isInherited }, { ...headers, ...confirmed });
      await queries.invalidateQueries({ queryKey: ['flag', place.project, place.environment, flagKey] });
      draft.discard();
      return data;
    } catch (thrown) {
      const refused = asProblem(thrown);
      if (refused.code === 'precondition_failed' || refused.code === 'precondition_required') onStale(refused);
      throw refused;
    } finally {
      onSending(false);
    }
  };
  const change = useChange(send, touching(place, 'flags', 'audit', 'fuse'));
  return (
    <RehearsedSheet
      title={`Review ${counted(draft.changes.length, 'change')}`} done="Published" verb="Publish" leave="Go on editing" hasKeys place={place} change={change} etag={draft.etag} onClose={onClose}
      rehearsal={{ data: answer ?? undefined, error: rehearsal.problem, refetch: rehearsal.retry }} isReady={rehearsal.isCurrent && answer !== null && draft.isDirty} onTry={(context) => { onTry(context); onClose(); }}
      fields={(
        <>
          {answer?.confirmation_needed === true ? <Alert color="yellow" py="xs">That is more than this environment lets through without a look at it. Publishing confirms it.</Alert> : null}
          <Text size="sm" c="dimmed">{`Goes to ${isInherited ? `${place.environment} alone, as its override of the project’s flag` : place.environment}${isProduction(place.environment) ? ', which is production' : ''}. The audit trail has it under your name, and it can be taken back.`}</Text>
        </>
      )}
    >
      <FieldDiff changes={draft.changes} />
    </RehearsedSheet>
  );
}

interface SaveBarProps { draft: Draft; unread: number; rehearsal: RehearsalState; onReview: () => void; onMerge: () => void }

/** One bar for all edits of a flag, and no other way to save them. */
export function SaveBar({ draft, unread, rehearsal, onReview, onMerge }: SaveBarProps) {
  const isReady = draft.isDirty && unread === 0;
  useHotkeys([['mod+S', () => { if (isReady) onReview(); }]], [], true);
  if (!draft.isDirty && unread === 0) return null;
  const words = unread > 0
    ? `${counted(unread, 'field holds', 'fields hold')} something that cannot be read.`
    : rehearsal.problem !== null ? capital(rehearsal.problem.message) : rehearsal.isCurrent ? flipped(rehearsal) : 'Checking …';
  return (
    <div className="savebar" role="region" aria-label="Unsaved changes">
      <Group justify="space-between" gap="sm">
        <div style={{ minWidth: 0 }}>
          <Text size="sm" fw={600}>{counted(Math.max(1, draft.changes.length), 'unsaved change')}</Text>
          <Text size="xs" c={rehearsal.problem === null && unread === 0 ? 'dimmed' : 'var(--mantine-color-error)'} role="status" className="break">{words}</Text>
        </div>
        <Group gap="xs">
          {draft.isBehind ? <Button variant="light" color="yellow" onClick={onMerge}>Somebody published meanwhile: merge</Button> : null}
          <Button variant="subtle" color="gray" onClick={draft.discard}>Discard</Button>
          <Button disabled={!isReady} onClick={onReview} rightSection={<Kbd size="xs">⌘S</Kbd>}>Review</Button>
        </Group>
      </Group>
    </div>
  );
}

function flipped(rehearsal: RehearsalState): string {
  const changed = (rehearsal.answer?.diff ?? []).flatMap((one) => one.flags).reduce((sum, flag) => sum + flag.changed, 0);
  const sampled = (rehearsal.answer?.diff ?? []).flatMap((one) => one.flags).reduce((sum, flag) => sum + flag.sampled, 0);
  return changed === 0 ? 'Nobody who was sampled gets something else.' : `${changed.toLocaleString('en-US')} of ${sampled.toLocaleString('en-US')} sampled askers get something else.`;
}

interface MergeSheetProps { base: JsonObject; yours: JsonObject; theirs: JsonObject; onTake: (result: JsonObject) => void; onDiscard: () => void; onClose: () => void }

/** Somebody published meanwhile: yours, theirs and the result by field. What only one side changed needs no answer. */
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
