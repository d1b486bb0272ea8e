// One bar for all edits of a flag, and no other way to save them.
import { Button, Group, Kbd, Text } from '@mantine/core';
import { useHotkeys } from '@mantine/hooks';
import { capital } from '../api';
import { counted } from '../model/words.ts';
import type { Draft } from './draft';
import type { RehearsalState } from './useRehearsal';

interface SaveBarProps { draft: Draft; unread: number; rehearsal: RehearsalState; onReview: () => void; onMerge: () => void }

export function SaveBar({ draft, unread, rehearsal, onReview, onMerge }: SaveBarProps) {
  const isReady = draft.isDirty && unread === 0;
  useHotkeys([['mod+S', () => { if (isReady) onReview(); }]], []);
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
