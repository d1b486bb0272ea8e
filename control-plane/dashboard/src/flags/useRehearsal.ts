// The server's opinion of an edit while it is made: a dry run a moment after the last keystroke.
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';
import { asProblem, type Place, Problem } from '../api';
import { asFlag } from '../model/edits.ts';
import { incomplete, pointerIn } from '../model/incomplete.ts';
import type { JsonObject } from '../model/json.ts';
import type { Draft } from './draft';
import { rehearse, type Rehearsed } from './reads';

const PAUSE_MS = 300;

/** A number for each document: as part of a key, a flag of ten thousand values would be written out with each keystroke. */
const numbers = new WeakMap<JsonObject, number>();
let last = 0;

function numberOf(doc: JsonObject): number {
  const known = numbers.get(doc);
  if (known !== undefined) return known;
  last += 1;
  numbers.set(doc, last);
  return last;
}

export interface RehearsalState {
  answer: Rehearsed | null;
  problem: Problem | null;
  /** Whether the answer is of the newest edit. */
  isCurrent: boolean;
  /** What is missing, and the server's sentences, by JSON pointer. */
  faults: ReadonlyMap<string, string>;
  retry: () => void;
}

export function useRehearsal(place: Place, key: string, draft: Draft, isInherited: boolean, canAsk: boolean, isPaused: boolean): RehearsalState {
  const [settledDoc] = useDebouncedValue<JsonObject>(draft.doc, PAUSE_MS);
  const lacks = useMemo(() => incomplete(asFlag(settledDoc)), [settledDoc]);
  const isAsked = draft.isDirty && canAsk && lacks.size === 0;
  const query = useQuery({
    queryKey: ['rehearsal', place.project, place.environment, key, draft.etag, numberOf(settledDoc)],
    queryFn: () => rehearse(place, { key, base: draft.base, doc: settledDoc, isInherited }, draft.etag),
    // What is being published is asked about no more: a moment later its state is another one.
    enabled: isAsked && settledDoc === draft.doc && !isPaused,
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 5_000,
    gcTime: 10_000,
  });
  const refused = isAsked && query.error !== null ? asProblem(query.error) : null;
  const [lacking] = draft.isDirty ? lacks.values() : [];
  const problem = useMemo(() => (lacking === undefined ? refused : new Problem('incomplete', 0, lacking)), [lacking, refused]);
  const told = useMemo(() => new Map((refused?.body.errors ?? []).flatMap((fault) => (fault.pointer === undefined ? [] : [[pointerIn(bare(fault.pointer), fault.detail, settledDoc), fault.detail] as const]))), [refused, settledDoc]);
  return {
    answer: isAsked && problem === null ? (query.data ?? null) : null,
    problem,
    isCurrent: isAsked && settledDoc === draft.doc && !query.isFetching && !query.isPlaceholderData,
    faults: lacking === undefined ? told : lacks,
    retry: () => void query.refetch(),
  };
}

/** Of a PUT that wraps the flag, and of one that does not, the same pointer. */
function bare(pointer: string): string {
  return pointer.replace(/^#/, '').replace(/^\/flag\//, '/');
}
