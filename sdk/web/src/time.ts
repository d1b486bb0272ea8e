// How old events are, and how long to wait: by clocks that are set back, pages that slept and servers that ask for time. Pure.

import type { Event, Kept } from './event.js';

/** Events older than this are given up. */
export const AGE_MS_MAX = 7 * 86_400_000;
/** Times in one request may be wrong by so much: they share one `sent_ms`. */
const SHARED_MS = 1_000;
const FIRST_PAUSE_MS = 1_000;
const PAUSE_MS_MAX = 300_000;
const RETRY_AFTER_MS_MAX = 86_400_000;

/** A reading of both clocks of a page. */
export interface Now {
  /** Unix milliseconds by the device's clock, which people and networks set. */
  wall: number;
  /** Milliseconds since the page began, which never go back, but may stand still while the device sleeps. */
  steady: number;
}

/** What tells when something happened: the device's clock, and the steady one of the page that saw it. */
export type Happened = Pick<Kept, 's' | 'p'> & { e: Pick<Event, 'occurred_ms'> };

/**
 * How long ago it happened, in milliseconds. This page's own events go by the steady clock, unless more time has passed on the
 * wall: then the device slept. Other pages' events have the wall alone; where that was set back they are as old as nothing.
 */
export function ageMs(kept: Happened, page: string, now: Now): number {
  const wall = now.wall - kept.e.occurred_ms;
  if (kept.s !== page) return Math.max(wall, 0);
  const steady = now.steady - kept.p;
  return wall > steady && wall < AGE_MS_MAX ? wall : Math.max(steady, 0);
}

/** What `sent_ms` has to be for an event of that age: the edge takes the difference for its age, whatever the clocks say. */
export const sentMs = (kept: Kept, age: number): number => Math.round(kept.e.occurred_ms + age);

/** Whether an event can be sent with this `sent_ms`. */
export const sharesSent = (sent: number, own: number): boolean => Math.abs(sent - own) <= SHARED_MS;

/** Milliseconds that a `Retry-After` asks for: seconds, or a date. */
export function retryAfterMs(header: string | null, wall: number): number {
  const ms = Number(header) * 1_000 || Date.parse(header ?? '') - wall;
  return Math.min(Math.max(ms || 0, 0), RETRY_AFTER_MS_MAX);
}

/**
 * The pause before the next attempt: full jitter under an exponential ceiling; after a `Retry-After` of `asked`, never before
 * it, and spread over as long again. `random` is in [0, 1).
 */
export function pauseMs(failures: number, asked: number, random: number): number {
  if (asked > 0) return asked + random * Math.max(asked, FIRST_PAUSE_MS);
  return random * Math.min(FIRST_PAUSE_MS * 2 ** failures, PAUSE_MS_MAX);
}
