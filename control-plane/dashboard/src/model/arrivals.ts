// How versions arrive at replicas, and what stands on an axis of days: what pictures draw, in numbers and in words.
import type { Schemas } from '../api';
import { duration } from './words.ts';

export type RecentArrival = Schemas['RecentArrival'];
export type Replica = Pick<Schemas['ReplicaName'], 'region' | 'shard'>;

export const replicaName = ({ region, shard }: Replica) => `${region}/${shard}`;

/** The least of these numbers that this share of them does not exceed; null where there is none. */
export function quantile(numbers: readonly number[], share: number): number | null {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}

/** Place on an axis on which each step is by a quarter longer than the one before: milliseconds and minutes fit on it. */
export const logStep = (ms: number) => Math.log10(Math.max(1, ms)) * 10;

export interface Bin { fromMs: number; toMs: number; count: number }

/** How many of these times lie in each step of that axis, from the first that holds one to the last. */
export function binsOf(times: readonly number[]): Bin[] {
  const steps = times.map((ms) => Math.floor(logStep(ms)));
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  return Array.from({ length: steps.length === 0 ? 0 : last - first + 1 }, (_, at) => {
    const step = first + at;
    return { fromMs: 10 ** (step / 10), toMs: 10 ** ((step + 1) / 10), count: steps.filter((one) => one === step).length };
  });
}

/** Where one shade of a lag ends and the next begins. */
export const SHADES_MS = [100, 250, 1_000, 10_000] as const;

/** The shade of a lag, 0 to 4; null while there is none. */
export function shadeOf(lagMs: number | null): number | null {
  return lagMs === null ? null : SHADES_MS.filter((end) => lagMs > end).length;
}

export const lagInWords = (lagMs: number | null | undefined) => (lagMs == null ? 'not there yet' : duration(lagMs));

/** Midnights, by the local clock, from a week ago to the end of the day in a week. */
export function daysAround(nowMs: number): number[] {
  return Array.from({ length: 16 }, (_, at) => {
    const day = new Date(nowMs);
    day.setHours(0, 0, 0, 0);
    return day.setDate(day.getDate() + at - 7);
  });
}

export interface Span { from_ms: number; to_ms: number }

/** For each span the first row in which it lies beside no other one. */
export function rowsOf(spans: readonly Span[]): number[] {
  const ends: number[] = [];
  const rows = new Map<Span, number>();
  for (const span of [...spans].sort((one, other) => one.from_ms - other.from_ms)) {
    const free = ends.findIndex((end) => end <= span.from_ms);
    const row = free < 0 ? ends.length : free;
    ends[row] = span.to_ms;
    rows.set(span, row);
  }
  return spans.map((span) => rows.get(span) ?? 0);
}
