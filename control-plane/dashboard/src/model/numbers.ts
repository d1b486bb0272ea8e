// Numbers as people type them, read strictly: what could be meant in two ways is refused with a sentence.
import { type Read, short } from './json.ts';

export interface NumberRule {
  min: number;
  max: number;
  /** The smallest step, such as 0.0001; 1 for whole numbers. */
  step: number;
  unit: string;
}

export const PERCENT: NumberRule = { min: 0, max: 100, step: 0.0001, unit: '%' };
export const WEIGHT: NumberRule = { min: 0, max: 1_000_000, step: 1, unit: 'parts' };

const PLAIN = /^[-+]?\d+(\.\d+)?$/;

export function readNumber(text: string, rule: NumberRule): Read<number> {
  const bare = text.trim();
  const refuse = (why: string): Read<number> => ({ ok: false, why });
  if (bare === '') return refuse(`Type a number from ${plain(rule.min)} to ${plain(rule.max)} ${rule.unit}.`);
  if (bare.includes(',')) return refuse('Write the decimal point as “.”, and no separator between thousands: “12.5”, “10000”.');
  if (/^[-+]?[\d.]+e[-+]?\d+$/i.test(bare)) return refuse('Write the number without an exponent: “0.0001”, not “1e-4”.');
  if (/^[-+]?(nan|inf(inity)?)$/i.test(bare)) return refuse('This is not a number that anything can be compared with.');
  if (!PLAIN.test(bare)) return refuse(`“${short(bare, 24)}” is not a number: use digits and one decimal point.`);
  const value = Number(bare);
  if (value < rule.min) return refuse(`The least is ${plain(rule.min)} ${rule.unit}.`);
  if (value > rule.max) return refuse(`The most is ${plain(rule.max)} ${rule.unit}.`);
  const steps = value / rule.step;
  if (Math.abs(steps - Math.round(steps)) > 1e-6 * Math.max(1, Math.abs(steps))) {
    return refuse(rule.step === 1 ? 'This has to be a whole number.' : `Steps are ${plain(rule.step)} ${rule.unit}.`);
  }
  return { ok: true, value };
}

/** A number in a condition: any finite one, but none that loses digits on its way. */
export function readValue(text: string): Read<number> {
  const read = readNumber(text, { min: -Number.MAX_VALUE, max: Number.MAX_VALUE, step: Number.MIN_VALUE, unit: '' });
  if (!read.ok && text.trim() === '') return { ok: false, why: 'Type a number.' };
  if (read.ok && Math.abs(read.value) > Number.MAX_SAFE_INTEGER) return { ok: false, why: 'Numbers above 9,007,199,254,740,991 lose digits.' };
  return read;
}

/** Without an exponent, whatever the size. */
export function plain(value: number): string {
  if (Number.isInteger(value)) return value.toLocaleString('en-US', { useGrouping: false, maximumFractionDigits: 0 });
  return value.toLocaleString('en-US', { useGrouping: false, maximumFractionDigits: 10 });
}
