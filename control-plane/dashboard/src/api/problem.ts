// What went wrong, in one shape: the API's problem+json, a network that fails, an answer that takes too long.
import type { components } from '../../generated/api';

export type ProblemBody = components['schemas']['Problem'];

/** A request that did not do what it was to do. `code` is the API's, or `offline`, `timeout`, `unreadable`. */
export class Problem extends Error {
  readonly code: string;
  /** HTTP's, or 0 where there was no answer. */
  readonly status: number;
  readonly body: Partial<ProblemBody>;
  /** Tag of the state that is there, where the answer says so. */
  readonly etag: string | null;
  readonly retryAfterS: number | null;

  constructor(code: string, status: number, detail: string, rest: Partial<Pick<Problem, 'body' | 'etag' | 'retryAfterS'>> = {}) {
    super(detail);
    this.name = 'Problem';
    this.code = code;
    this.status = status;
    this.body = rest.body ?? {};
    this.etag = rest.etag ?? null;
    this.retryAfterS = rest.retryAfterS ?? null;
  }
}

/** Whatever was thrown, as a problem. */
export function asProblem(thrown: unknown): Problem {
  if (thrown instanceof Problem) return thrown;
  if (thrown instanceof DOMException && thrown.name === 'TimeoutError') {
    return new Problem('timeout', 0, 'The control plane took too long.');
  }
  if (thrown instanceof TypeError) return new Problem('offline', 0, 'The control plane cannot be reached.');
  return new Problem('unreadable', 0, thrown instanceof Error ? thrown.message : 'Something failed.');
}

/** The problem that an answer tells. */
export async function problemOf(response: Response): Promise<Problem> {
  const text = await response.text().catch(() => '');
  const retryAfter = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
  const rest = {
    etag: response.headers.get('etag'),
    retryAfterS: Number.isFinite(retryAfter) ? retryAfter : null,
  };
  try {
    const body = JSON.parse(text) as Partial<ProblemBody>;
    if (typeof body.code === 'string') {
      return new Problem(body.code, response.status, body.detail ?? body.title ?? '', { ...rest, body });
    }
  } catch {
    // A proxy's page, for example.
  }
  return new Problem('unreadable', response.status, `The answer ${response.status} came without a reason.`, rest);
}

/** What to do about it, where the server's own sentence does not say. */
const ADVICE: Record<string, string> = {
  offline: 'Is it running, and are you online? This page tries again by itself.',
  timeout: 'It may be busy. Nothing is known of what became of the request: look before you repeat a change.',
  unreadable: 'Try again; if it stays so, look at the log of the control plane.',
  internal: 'It is not your fault. Try again; the log of the control plane says more.',
  overloaded: 'Try again in a moment.',
  rate_limited: 'Wait, then try again.',
  forbidden: 'Somebody with more rights in this place can do it.',
  cross_origin: 'Open this page at the address that the control plane has itself.',
  too_large: 'Send less at a time.',
  unauthorized: 'Sign in again.',
};

/** A sentence that says what happened, and one that says what to do, where there is one. */
export function sentences(problem: Problem): { what: string; advice: string | null } {
  const wait = problem.retryAfterS === null ? null : `Try again in ${problem.retryAfterS} s.`;
  return { what: capital(problem.message), advice: wait ?? ADVICE[problem.code] ?? null };
}

/** With a capital and a full stop: the API's sentences begin small. */
export function capital(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return 'It failed without a reason.';
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}
