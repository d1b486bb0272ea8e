// What is sent of one event, as the edge's `POST /v1/events` reads it, and what a page may put into it.

/** An exposure or an outcome, exactly as it is sent; once sent it never changes. */
export interface Event {
  /** A UUIDv7, made when the event happened. */
  id: string;
  type: 'exposure' | 'outcome';
  /** Who: the targeting key of the evaluation, or the attribute that the flag names its units by. */
  unit: string;
  /** Unix time in milliseconds by the device's clock when it happened. */
  occurred_ms: number;
  /** Of an exposure: the flag's key. */
  flag?: string;
  /** Of an exposure: the key of the variation that was handed over. */
  variation?: string;
  /** Of an exposure: the phase of the flag's cohort. */
  phase?: number;
  /** Of an exposure: `epoch.seq` of the snapshot that answered. */
  version?: string | undefined;
  /** Of an exposure: the slices of its cohort that the context put the unit into. */
  slices?: string | undefined;
  /** Of an outcome: its metric's name. */
  metric?: string;
  /** Of an outcome: a number, where the metric has one. */
  value?: number | undefined;
  /** What the edge knows the unit by. */
  ticket?: string | undefined;
}

/** An event that waits for its acknowledgement, with what is needed to say how old it is. */
export interface Kept {
  e: Event;
  /** The page that made it: one name for each load. */
  s: string;
  /** That page's steady clock when it happened, in milliseconds. */
  p: number;
  /** Set once it was sent in a form that could still have changed. */
  x?: 1;
}

/** Bytes of an event that the edge takes. */
export const EVENT_LEN_MAX = 4_096;
/** The largest `latency_ms`: a day. */
export const LATENCY_MS_MAX = 86_400_000;
const UNIT_LEN_MAX = 512;
/** Larger numbers are written with an exponent by some, and not by others. */
const WHOLE_MAX = 1e20;

/** Whether an outcome may have this name. */
export const isMetric = (name: unknown): name is string =>
  typeof name === 'string' && /^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) && name !== 'exposure';

/** How many bytes a text has in UTF-8; counted, since an encoded copy of every event would be garbage to collect. */
export function byteLength(text: string): number {
  let length = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    // Halves of a pair have two each.
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 2 : 3;
  }
  return length;
}

/** The unit that a context's attribute names: a text, or the digits of a whole number, as the edge reads it. */
export function unitOf(value: unknown): string | undefined {
  const text = textOf(Number.isInteger(value) && Math.abs(value as number) < WHOLE_MAX ? String(value) : value);
  return text && text.length <= UNIT_LEN_MAX && byteLength(text) <= UNIT_LEN_MAX ? text : undefined;
}

/** A text, or nothing in place of anything else. */
export const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

/** What an exposure says of the answer that it is about, by that flag's metadata. */
export const toldOf = ({ version, slices }: Readonly<Record<string, unknown>>): Pick<Event, 'version' | 'slices'> => (
  { version: textOf(version), slices: textOf(slices) }
);

const random = new Uint8Array(9);
let latestMs = 0;
let sequence = 0;

/** A UUIDv7. Those of one page rise, even when its clock is set back. */
export function uuid7(nowMs: number): string {
  crypto.getRandomValues(random);
  if (nowMs > latestMs) {
    latestMs = nowMs;
    sequence = random[8]!;
  } else if (++sequence > 0xfff) {
    latestMs += 1;
    sequence = 0;
  }
  random[0] = (random[0]! & 0x3f) | 0x80;
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const tail = Array.from(random.subarray(0, 8), (byte) => hex(byte, 2)).join('');
  return `${hex(latestMs, 12)}7${hex(sequence, 3)}${tail}`.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
