// One way to change anything. A person's change names the state that was seen (`If-Match`); the server may answer that another
// state is there (412), or that the change does much and wants a confirmation (409). Both come back as states, with what there is to show.
import { useState } from 'react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import type { Tagged } from './client';
import { asProblem, type Problem, type ProblemBody } from './problem';
import type { Place } from './reads';

/** Headers of a change; give them to `api.PUT(…, { headers })`. */
export type ChangeHeaders = Record<string, string>;

export type ChangeState<T> =
  | { step: 'idle' }
  | { step: 'sending' }
  /** The server asks whether this is meant: `diff` says who gets what else, `lost` what goes. */
  | { step: 'confirm'; problem: Problem; confirmation: string; diff: ProblemBody['diff']; lost: ProblemBody['lost'] }
  /** Somebody else was faster: `current` is what is there, `etag` its tag. */
  | { step: 'stale'; problem: Problem; current: ProblemBody['current']; etag: string | null }
  | { step: 'failed'; problem: Problem }
  | { step: 'done'; answer: T };

export interface Change<T> {
  state: ChangeState<T>;
  /** Why, for the audit trail. */
  comment: string;
  explain: (comment: string) => void;
  /** Sends it, over the state with this tag; resolves to whether it was done. */
  run: (etag: string | null) => Promise<boolean>;
  /** Sends it again with the confirmation that was asked for. */
  confirm: () => Promise<boolean>;
  /** Sends it again over the state that is there now. */
  overwrite: () => Promise<boolean>;
  reset: () => void;
}

/** First parts of the keys of an environment's reads, by their resources. */
export const touching = (place: Place, ...resources: string[]) => resources.map((resource) => [resource, place.project, place.environment]);

/** A change, as far as it is only asked how far it is. */
export interface Sent { state: Pick<ChangeState<unknown>, 'step'> }

/** The tag of what a change is about; null until it is known. From its sending on nobody asks for it: it may be gone. */
export function useTag<T>({ state }: Sent, queryKey: readonly unknown[], ask: (signal: AbortSignal) => Promise<Tagged<T>>): string | null {
  const enabled = state.step !== 'sending' && state.step !== 'done';
  return useQuery({ queryKey, queryFn: ({ signal }) => ask(signal), enabled }).data?.etag ?? null;
}

/**
 * `send` makes the request with the headers that it is given. `touches` are the first parts of the query keys that it makes
 * stale, such as `['flag', project, environment]`; the feed would tell a moment later.
 */
export function useChange<T>(send: (headers: ChangeHeaders) => Promise<T>, touches: readonly (readonly unknown[])[] = []): Change<T> {
  const [state, setState] = useState<ChangeState<T>>({ step: 'idle' });
  const [seen, setSeen] = useState<string | null>(null);
  const [comment, explain] = useState('');
  const queries = useQueryClient();

  const attempt = async (etag: string | null, confirmation: string | null) => {
    setSeen(etag);
    setState({ step: 'sending' });
    const headers: ChangeHeaders = {};
    if (etag !== null) headers['if-match'] = etag;
    if (confirmation !== null) headers['x-flagfuse-confirm'] = confirmation;
    if (comment.trim() !== '') headers['change-comment'] = encodeURIComponent(comment.trim());
    try {
      const answer = await send(headers);
      await Promise.all(touches.map((queryKey) => queries.invalidateQueries({ queryKey })));
      setState({ step: 'done', answer });
      return true;
    } catch (thrown) {
      setState(refused(asProblem(thrown)));
      return false;
    }
  };

  return {
    state, comment, explain,
    run: (etag) => attempt(etag, null),
    confirm: () => attempt(seen, state.step === 'confirm' ? state.confirmation : null),
    overwrite: () => attempt(state.step === 'stale' ? state.etag : seen, null),
    reset: () => setState({ step: 'idle' }),
  };
}

/** Which state a refusal leads to. */
export function refused<T>(problem: Problem): ChangeState<T> {
  const { body } = problem;
  if (problem.code === 'confirmation_needed' && body.confirmation !== undefined) {
    return { step: 'confirm', problem, confirmation: body.confirmation, diff: body.diff, lost: body.lost };
  }
  if (problem.code === 'precondition_failed' || problem.code === 'precondition_required') {
    return { step: 'stale', problem, current: body.current, etag: body.etag ?? problem.etag };
  }
  return { step: 'failed', problem };
}
