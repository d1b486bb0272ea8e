// The one place from which an edit is published: what changes, who flips, then the receipt fills in place.
import { Alert, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { asProblem, type ChangeHeaders, type Place, type Problem, touching, useChange } from '../api';
import { isProduction } from '../routes/place';
import type { JsonObject } from '../model/json.ts';
import { counted } from '../model/words.ts';
import type { Draft } from './draft';
import { FieldDiff } from './FieldDiff';
import { publish } from './reads';
import { RehearsedSheet } from './RehearsedSheet';
import type { RehearsalState } from './useRehearsal';

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
