// What an event of the feed makes stale. Answers are asked for anew rather than patched: the feed names what moved, the API says how.
import type { QueryClient } from '@tanstack/react-query';
import type { FeedEvent } from './events';

/** One change is told by several events at once, and asked about once; those of a burst behind them together, and ever more of
 * them while it lasts: a page that is left open beside a busy team asks every two seconds, not eight times in each. */
const FIRST_MS = 5;
const TOGETHER_MS = 120;
const TOGETHER_MS_MAX = 2_000;
/** What somebody may be waiting for, in the midst of a burst too. */
const URGENT = new Set(['transition', 'alarm', 'reset']);
/** What changes with receipts alone. */
const RECEIPT = new Set(['propagation', 'change', 'overview', 'trip']);
/** What a verdict moves. */
const VERDICT = new Set(['fuse', 'fuses', 'verdicts', 'overview', 'flags', 'series', 'cells']);
/** What the feed says of itself: that it is there. */
const IDLE = new Set(['hello', 'heartbeat']);
/** What follows few changes, by the families of actions that it follows. */
const STEADY: Record<string, string[]> = {
  whoami: ['member', 'session', 'project', 'environment'], projects: ['project', 'environment'], environments: ['project', 'environment'],
  members: ['member', 'session', 'token'], sessions: ['member', 'session'], keys: ['environment'], 'event-rate': [],
};

export interface EventRate {
  eventsPerS: number;
  atMs: number;
}

export function applier(queries: QueryClient): (event: FeedEvent) => void {
  let waiting: FeedEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  let [pauseMs, dueMs] = [TOGETHER_MS, 0];
  const flushIn = (ms: number) => {
    if (timer !== null) clearTimeout(timer);
    dueMs = Date.now() + ms;
    timer = setTimeout(flush, ms);
  };
  const flush = () => {
    timer = null;
    const events = waiting;
    waiting = [];
    if (events.length === 0) {
      pauseMs = TOGETHER_MS;
      return;
    }
    flushIn(pauseMs);
    pauseMs = Math.min(2 * pauseMs, TOGETHER_MS_MAX);
    void queries.invalidateQueries({ predicate: (query) => events.some((event) => concerns(event, query.queryKey)) });
  };
  return (event) => {
    if (event.type === 'event-rate') {
      const rate: EventRate = { eventsPerS: Number(event.data?.events_per_s ?? 0), atMs: Number(event.data?.at_ms ?? 0) };
      queries.setQueryData(['event-rate', event.data?.project, event.data?.environment], rate);
      return;
    }
    if (IDLE.has(event.type)) return;
    waiting.push(event);
    if (timer === null) flushIn(FIRST_MS);
    else if (URGENT.has(event.type) && dueMs - Date.now() > TOGETHER_MS) flushIn(TOGETHER_MS);
  };
}

/** Whether an answer may be another one after an event. */
export function concerns(event: FeedEvent, key: readonly unknown[]): boolean {
  const resource = String(key[0]);
  if (IDLE.has(event.type)) return false;
  if (event.type === 'reset') return true;
  if (resource === 'audit') return event.type === 'change' && fits(event, key);
  if (!fits(event, key)) return false;
  const families = STEADY[resource];
  if (families !== undefined) return event.type === 'change' && families.includes(String(event.data?.action).split('.', 1)[0] ?? '');
  if (event.type === 'receipt') return RECEIPT.has(resource);
  if (event.type === 'verdict') return VERDICT.has(resource);
  if (event.type === 'alarm') return ['slos', 'overview', 'propagation'].includes(resource);
  return true;
}

/** Whether both are of one place; what names none is of all. */
function fits(event: FeedEvent, key: readonly unknown[]): boolean {
  const { project, environment } = event.data ?? {};
  const same = (one: unknown, other: unknown) => typeof one !== 'string' || typeof other !== 'string' || one === other;
  return same(project, key[1]) && same(environment, key[2]);
}
