// The edit of one flag: what was read, with its tag, and what it has become. It outlives a reload and a session that ends.
import { useCallback, useEffect, useMemo, useState } from 'react';
import type { Place, Schemas, Tagged } from '../api';
import { asDocument, asFlag } from '../model/edits.ts';
import { diff, type FieldChange } from '../model/diff.ts';
import { isObject, same, type JsonObject } from '../model/json.ts';
import { shapeProblem } from '../model/shape.ts';
import type { Flag } from '../model/types.ts';

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
