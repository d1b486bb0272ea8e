// Cuts what waits into requests that the edge takes. Pure.

import { byteLength, type Event, type Kept } from './event.js';
import { sharesSent } from './time.js';

/** What the package calls itself in requests. */
export const SDK = 'flagfuse-web/0.1.0';
/** Bytes of a body: browsers let a page have 64 KiB under way when it closes. */
export const BODY_LEN_MAX = 48 * 1_024;
/** Events of a body: half of what the edge takes, so that reading and letting go of them are short tasks of the page's thread. */
export const EVENT_COUNT_MAX = 100;

/** A request's body and the events in it, in order. */
export interface Batch {
  body: string;
  events: Kept[];
}

/** Cuts batches one after the other. Events in one have the same `sent_ms`, up to a second; others come in the next. */
export function cut(waiting: readonly { kept: Kept; sent: number }[], countMax = EVENT_COUNT_MAX): Batch | undefined {
  const first = waiting[0];
  if (!first) return undefined;
  const body = { sent_ms: first.sent, sdk: SDK, events: [] as Event[] };
  let length = JSON.stringify(body).length;
  const events: Kept[] = [];
  for (const { kept, sent } of waiting) {
    if (!sharesSent(first.sent, sent)) continue;
    length += byteLength(JSON.stringify(kept.e)) + 1;
    if (events.length > 0 && (length > BODY_LEN_MAX || events.length >= countMax)) break;
    events.push(kept);
    body.events.push(kept.e);
  }
  return { body: JSON.stringify(body), events };
}
