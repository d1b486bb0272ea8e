// The edit of one flag: what was read, with its tag, and what it has become. It outlives a reload and a session that ends.
import { useCallback, useEffect, useMemo, useState } from 'react';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { asProblem, type Place, Problem, type Schemas, type Tagged } from '../api';
import { asDocument, asFlag } from '../model/edits.ts';
import { diff, type FieldChange } from '../model/diff.ts';
import { isObject, type JsonObject, same } from '../model/json.ts';
import { shapeProblem } from '../model/shape.ts';
import type { Flag } from '../model/types.ts';
import { incomplete, pointerIn } from '../model/incomplete.ts';
import { rehearse, type Rehearsed } from './reads';

const KEEP_MS = 250;

interface Held { base: JsonObject; etag: string | null; doc: JsonObject }

export interface Draft {
  base: JsonObject;
  /** Tag of the state that the edit began from. */
  etag: string | null;
  doc: JsonObject;
  flag: Flag;
  changes: FieldChange[];
  isDirty: boolean;
  /** Whether the server has another state than the one that the edit began from. */
  isBehind: boolean;
  edit: (change: (flag: Flag) => Flag) => void;
  replace: (doc: JsonObject) => void;
  /** Goes on from another state, with what the merge of both has come to. */
  rebase: (base: JsonObject, etag: string | null, doc: JsonObject) => void;
  discard: () => void;
}

export function useDraft(place: Place, key: string, loaded: Tagged<Schemas['EnvironmentFlag']>): Draft {
  const name = `flagfuse-draft/${place.project}/${place.environment}/${key}`;
  const [held, setHeld] = useState<Held | null>(() => restore(name, loaded.etag));
  const server = useMemo<Held>(() => {
    const doc = asDocument(asFlag(loaded.data.flag));
    return { base: doc, etag: loaded.etag, doc };
  }, [loaded]);
  useEffect(() => {
    // Not with each keystroke: a flag may have ten thousand values.
    const now = () => keep(name, held);
    const later = setTimeout(now, KEEP_MS);
    addEventListener('pagehide', now);
    return () => {
      clearTimeout(later);
      removeEventListener('pagehide', now);
    };
  }, [name, held]);

  const from = held ?? server;
  const replace = useCallback((doc: JsonObject) => setHeld((before) => settled({ ...(before ?? server), doc })), [server]);
  const edit = useCallback((change: (flag: Flag) => Flag) => {
    setHeld((before) => {
      const old = before ?? server;
      return settled({ ...old, doc: asDocument(change(asFlag(old.doc))) });
    });
  }, [server]);
  const rebase = useCallback((base: JsonObject, etag: string | null, doc: JsonObject) => setHeld(settled({ base, etag, doc })), []);
  const discard = useCallback(() => setHeld(null), []);

  const changes = useMemo(() => (held === null ? [] : diff(held.base, held.doc)), [held]);
  return {
    base: from.base, etag: from.etag, doc: from.doc, flag: asFlag(from.doc), changes, isDirty: held !== null,
    isBehind: held !== null && held.etag !== server.etag && !same(held.base, server.doc), edit, replace, rebase, discard,
  };
}

/** An edit that changes nothing is none. */
function settled(held: Held): Held | null {
  return same(held.base, held.doc) ? null : held;
}

function keep(name: string, held: Held | null): void {
  try {
    if (held === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, JSON.stringify(held));
  } catch {
    // No room, or no storage: then the edit lives as long as the page.
  }
}

function restore(name: string, etag: string | null): Held | null {
  try {
    const held: unknown = JSON.parse(sessionStorage.getItem(name) ?? 'null');
    if (!isObject(held) || !isObject(held.base) || !isObject(held.doc) || shapeProblem(held.doc) !== undefined) return null;
    return settled({ base: held.base, doc: held.doc, etag: typeof held.etag === 'string' ? held.etag : etag });
  } catch {
    return null;
  }
}

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

/** The server's opinion of an edit while it is made: a dry run a moment after the last keystroke. */
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
