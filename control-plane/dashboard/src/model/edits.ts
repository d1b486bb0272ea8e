// Edits of a flag: each makes a new document and keeps every field that it does not name.
import type { Flag, Rule } from './types.ts';
import { isObject, withField, type Json, type JsonObject } from './json.ts';

/** The document with a field set; nothing and empty lists take it away, as the server leaves them out. */
export function setField(flag: Flag, name: keyof Flag, value: unknown): Flag {
  const empty = value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
  return withField(flag as unknown as JsonObject, name, empty ? undefined : (value as Json)) as unknown as Flag;
}

export function setRule(flag: Flag, at: number, change: (rule: Rule) => Rule): Flag {
  return setField(flag, 'rules', (flag.rules ?? []).map((rule, place) => (place === at ? change(rule) : rule)));
}

/** A part of a rule; nothing takes it away. */
export function setPart<T extends object>(part: T, name: keyof T & string, value: unknown): T {
  const gone = value === undefined || value === null || value === false;
  return withField(part as unknown as JsonObject, name, gone ? undefined : (value as Json)) as unknown as T;
}

export function moved<T>(list: readonly T[], from: number, to: number): T[] {
  const item = list[from];
  if (item === undefined || to < 0 || to >= list.length) return [...list];
  const rest = [...list.slice(0, from), ...list.slice(from + 1)];
  return [...rest.slice(0, to), item, ...rest.slice(to)];
}

export function asFlag(document: unknown): Flag {
  if (!isObject(document)) throw new TypeError('a flag is an object');
  return document as unknown as Flag;
}

export function asDocument(flag: Flag): JsonObject {
  return flag as unknown as JsonObject;
}
