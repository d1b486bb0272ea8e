// What an event of the feed makes stale. Answers are asked for anew rather than patched: the feed names what moved, the API says how.
import type { QueryClient } from '@tanstack/react-query';
import type { FeedEvent } from './events';

/** One change is told by several events at once, and asked about once; those of a burst behind them together. */
const FIRST_MS = 5;
const TOGETHER_MS = 120;
/** What changes with receipts alone. */
const RECEIPT = new Set(['propagation', 'change', 'overview', 'trip']);
/** What a verdict moves. */
const VERDICT = new Set(['fuse', 'fuses', 'verdicts', 'overview', 'flags', 'series', 'cells']);
/** What the feed says of itself: that it is there. */
const IDLE = new Set(['hello', 'heartbeat']);
/** What never follows events of an environment. */
const STEADY = new Set(['whoami', 'projects', 'environments', 'event-rate', 'sessions', 'members', 'keys']);

export interface EventRate {
  eventsPerS: number;
  atMs: number;
}

export function applier(queries: QueryClient): (event: FeedEvent) => void {
  let waiting: FeedEvent[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  const flush = () => {
    timer = waiting.length === 0 ? null : setTimeout(flush, TOGETHER_MS);
    const events = waiting;
    waiting = [];
    if (events.length === 0) return;
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
    timer ??= setTimeout(flush, FIRST_MS);
  };
}

/** Whether an answer may be another one after an event. */
export function concerns(event: FeedEvent, key: readonly unknown[]): boolean {
  const resource = String(key[0]);
  if (IDLE.has(event.type)) return false;
  if (event.type === 'reset') return true;
  if (resource === 'audit') return event.type === 'change' && fits(event, key);
  if (STEADY.has(resource)) {
    // Members, projects and the like are changed too, in the tenant's trail.
    return event.type === 'change' && (event.data?.environment ?? null) === null;
  }
  if (!fits(event, key)) return false;
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
