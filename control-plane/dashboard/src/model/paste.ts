// Values pasted into a list, one a line: what is new, what was there, and whether there is room before anything is sent.
import { count } from './words.ts';

export const VALUES_MAX = 10_000;
export const TEXT_BYTES_MAX = 4096;

export interface Pasted {
  /** The list with what is new behind it; as it was where the paste is refused. */
  values: string[];
  added: number;
  /** How many were there already, or came twice. */
  repeated: number;
  /** Why nothing was taken. */
  refused?: string;
}

export function paste(text: string, existing: readonly string[], limit = VALUES_MAX, what = 'values'): Pasted {
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line !== '');
  const known = new Set(existing);
  const before = known.size;
  for (const line of lines) known.add(line);
  const added = known.size - before;
  const repeated = lines.length - added;
  const tooLong = lines.find((line) => isTooLong(line));
  const refuse = (refused: string): Pasted => ({ values: [...existing], added: 0, repeated: 0, refused });
  if (tooLong !== undefined) return refuse(`A text may have ${count(TEXT_BYTES_MAX)} bytes; the one that begins “${Array.from(tooLong.slice(0, 80)).slice(0, 24).join('')}…” is longer.`);
  if (known.size > limit) {
    return refuse(`${count(lines.length)} lines were pasted, ${count(known.size)} ${what} in all; ${count(limit)} is the most. For more, use a segment per group or a rule on an attribute. Nothing was taken over.`);
  }
  return { values: [...known], added, repeated };
}

/** UTF-8 bytes without making them: only a text that could be too long is looked at. */
function isTooLong(text: string): boolean {
  if (text.length > TEXT_BYTES_MAX) return true;
  if (text.length * 3 <= TEXT_BYTES_MAX) return false;
  return new TextEncoder().encode(text).length > TEXT_BYTES_MAX;
}
