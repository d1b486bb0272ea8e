// When a session begins: with what a unit does after half an hour without anything. Pure.

import type { Event, Kept } from './event.js';
import { ageMs, type Now } from './time.js';

/** A unit of which nothing was seen for so long begins another session. */
export const SESSION_MS = 1_800_000;
/** Units that a device remembers; of more, it forgets those that were active longest ago. */
export const UNIT_COUNT_MAX = 50;

/** When a unit was active last, in the form of an event that waits: its age is told in the same way. */
export type Seen = Pick<Kept, 's' | 'p'> & { e: Pick<Event, 'unit' | 'occurred_ms'> };

/**
 * These units are active now: those among them whose session begins with it, and the note to write in place of `note`, which
 * other pages share and anybody may have written.
 */
export function attend(note: string | undefined, units: readonly string[], page: string, now: Now): { begun: string[]; note: string } {
  let seen: Seen[] = [];
  try {
    seen = (JSON.parse(note ?? '[]') as Seen[]).filter((one) => ageMs(one, page, now) < SESSION_MS);
  } catch {
    // Not ours, or cut off.
  }
  const known = seen.map(({ e }) => e.unit);
  const others = seen.filter(({ e }) => !units.includes(e.unit));
  const active = units.map((unit) => ({ e: { unit, occurred_ms: now.wall }, s: page, p: now.steady }));
  return { begun: units.filter((unit) => !known.includes(unit)), note: JSON.stringify([...others, ...active].slice(-UNIT_COUNT_MAX)) };
}
