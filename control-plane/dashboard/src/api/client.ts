// The typed client of the control plane's API. Every request goes through `send`, which bounds it and turns failures into `Problem`.
import createClient from 'openapi-fetch';
import type { components, paths } from '../../generated/api';
import { basePath } from './base';
import { asProblem, Problem, problemOf } from './problem';

export type Schemas = components['schemas'];

/** After so long somebody is told, rather than left before a spinner. */
const PATIENCE_MS = 15_000;

const lost = new Set<() => void>();

/** Calls `listener` when an answer says that nobody is signed in any more. */
export function onSessionLost(listener: () => void): () => void {
  lost.add(listener);
  return () => lost.delete(listener);
}

async function send(request: Request): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    const asked = new Request(request, { signal: AbortSignal.any([request.signal, patience]) });
    // What speaks against a rehearsal is its answer; of a request that fails the browser complains in its console.
    if (request.url.includes('dry_run=true')) asked.headers.set('prefer', 'handling=lenient');
    const answer = await fetch(asked);
    if (!answer.headers.has('preference-applied')) return answer;
    const problem = (await answer.json()) as { status: number };
    return Response.json(problem, { status: problem.status, headers: answer.headers });
  } catch (thrown) {
    if (patience.aborted) throw new Problem('timeout', 0, `The control plane did not answer within ${PATIENCE_MS / 1000} s.`);
    if (thrown instanceof DOMException && thrown.name === 'AbortError') throw thrown;
    throw asProblem(thrown);
  }
}

export const api = createClient<paths>({ baseUrl: basePath().replace(/\/$/, ''), fetch: send });

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The answer's body, or throws its `Problem`. */
export const data = async <T>(sent: Promise<Answer<T>>): Promise<T> => (await tagged(sent)).data;

/** A body with the tag that a change of it has to name. */
export interface Tagged<T> {
  data: T;
  etag: string | null;
}

/** The answer's body and its `ETag`, or throws its `Problem`. */
export async function tagged<T>(sent: Promise<Answer<T>>): Promise<Tagged<T>> {
  const { data, error, response } = await sent;
  if (!response.ok) {
    // `openapi-fetch` has read the body already.
    const problem = await problemOf(new Response(typeof error === 'string' ? error : JSON.stringify(error ?? ''), response));
    // Sign-in itself is told its own way.
    if (problem.code === 'unauthorized') lost.forEach((listener) => listener());
    throw problem;
  }
  return { data: data as T, etag: response.headers.get('etag') };
}
