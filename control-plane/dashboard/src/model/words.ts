// Numbers and conditions as people read them: every number with its unit, none with more digits than it has.
import { short, type Json } from './json.ts';

export function percent(value: number): string {
  if (value !== 0 && Math.abs(value) < 0.0001) return '< 0.0001 %';
  const digits = Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 4;
  return `${trim(value.toFixed(digits))} %`;
}

/** A share between 0 and 1 as a percentage. */
export function share(value: number): string {
  return percent(value * 100);
}

/** A relative change with its sign: `−23 %`, `+4.5 %`. */
export function change(value: number | null | undefined): string {
  if (value === null || value === undefined) return 'unknown';
  const size = Math.abs(value) * 100;
  const text = `${size >= 1000 ? count(size) : trim(size.toFixed(size >= 1 ? 1 : 2))} %`;
  return value === 0 ? '0 %' : `${value < 0 ? '−' : '+'}${text}`;
}

export function interval(span: { lower: number | null; upper: number | null } | undefined): string {
  if (span === undefined) return 'no interval yet';
  const end = (value: number | null, open: string) => (value === null ? open : change(value));
  return `${end(span.lower, 'not bounded below')} … ${end(span.upper, 'not bounded above')}`;
}

const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

export const count = (value: number): string => GROUPED.format(value);

export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

const STEPS: readonly [number, string][] = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']];

/** `143 ms`, `2.4 s`, `3 h 10 min` */
export function duration(ms: number): string {
  const size = Math.abs(ms);
  const sign = ms < 0 ? '−' : '';
  if (size < 1000) return `${sign}${Math.round(size)} ms`;
  if (size < 60_000) return `${sign}${trim((size / 1000).toFixed(size < 10_000 ? 1 : 0))} s`;
  const at = STEPS.findIndex(([unit]) => size >= unit);
  const [unit, name] = STEPS[at] ?? [1000, 's'];
  const [lower, lowerName] = STEPS[at + 1] ?? [1000, 's'];
  const whole = Math.floor(size / unit);
  const rest = Math.round((size - whole * unit) / lower);
  if (rest * lower >= unit) return `${sign}${whole + 1} ${name}`;
  return rest === 0 ? `${sign}${whole} ${name}` : `${sign}${whole} ${name} ${rest} ${lowerName}`;
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** 24 h, UTC: `14:03:07`; `2026-11-30 14:03:07` with the day. */
export function clock(ms: number, withDay = false): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return 'an unknown time';
  const text = date.toISOString();
  return withDay ? `${text.slice(0, 10)} ${text.slice(11, 19)}` : text.slice(11, 19);
}

export function clockMs(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? 'an unknown time' : date.toISOString().slice(11, 23);
}

/** `a, b or c`; of many the first few, and only those are put into words. */
export function listed<T>(items: readonly T[], text: (item: T) => string = String, max = 3): string {
  const words = items.slice(0, max).map(text);
  if (items.length > max) return `${words.join(', ')} and ${count(items.length - max)} more`;
  const last = words.pop() ?? 'nothing';
  return words.length === 0 ? last : `${words.join(', ')} or ${last}`;
}

export function valueText(value: Json | undefined): string {
  return typeof value === 'string' ? `“${short(value, 40)}”` : short(value, 40);
}
