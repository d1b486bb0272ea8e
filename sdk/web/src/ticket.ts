// Which ticket belongs to which unit, and whether it can be good for an event's time. Pure.

import { textOf, unitOf } from './event.js';

const DAY_MS = 86_400_000;
const TICKET = 'ticket';

/** Values of a flag's or a flag set's metadata. */
export type Metadata = Readonly<Record<string, string | number | boolean>>;

/**
 * Whether a ticket may be good for what happened then. Its window is a day that begins at another time for each unit, so only the
 * edge knows: this refuses what cannot be good, such as those of an answer from an old cache.
 */
export function mayBeGood(ticket: string | undefined, occurredMs: number): boolean {
  if (!ticket) return false;
  const days = Number(ticket.split('.')[1]) - Math.floor(occurredMs / DAY_MS);
  return !(days < -1 || days > 2);
}

/** The attributes that watched flags name their units by, as the tickets of a bulk answer say; none where there are no tickets. */
export const ticketAttributes = (metadata: Metadata): string[] => Object.keys(metadata)
  .filter((name) => name.startsWith(`${TICKET}:`)).map((name) => name.slice(TICKET.length + 1));

/** The name of the metadata that holds the ticket of units by that attribute; of the targeting key's without one. */
export const ticketName = (attribute?: string): string => (attribute ? `${TICKET}:${attribute}` : TICKET);

/** The units of a context, targeting key first, each with its ticket where the answer has one. */
export function units(context: Readonly<Record<string, unknown>>, metadata: Metadata): Map<string, string | undefined> {
  const found = new Map<string, string | undefined>();
  for (const attribute of [undefined, ...ticketAttributes(metadata)]) {
    const unit = unitOf(context[attribute ?? 'targetingKey']);
    const ticket = metadata[ticketName(attribute)];
    if (unit !== undefined && !found.get(unit)) found.set(unit, textOf(ticket));
  }
  return found;
}
