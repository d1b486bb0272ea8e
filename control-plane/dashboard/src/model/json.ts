// Plain JSON: what is equal, and how a part of a document is read and replaced without touching the rest.
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };
export type Path = readonly string[];

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An own property only: a flag may be called `constructor`, and a field `__proto__`. */
export function field(value: Json | undefined, key: string): Json | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** A copy with one property more; `undefined` takes it away. Assigning `__proto__` would set a prototype, so it is defined. */
export function withField(value: JsonObject, key: string, part: Json | undefined): JsonObject {
  const copy: JsonObject = {};
  for (const [name, old] of Object.entries(value)) if (name !== key) define(copy, name, old);
    else if (part !== undefined) define(copy, name, part);
  if (part !== undefined && !Object.hasOwn(value, key)) define(copy, key, part);
  return copy;
}

export function define(object: JsonObject, key: string, value: Json): void {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

/** Equal as JSON: the order of an object's keys says nothing, that of a list does. */
export function same(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, at) => same(item, b[at]));
  if (!isObject(a) || !isObject(b)) return false;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && same(a[name], b[name]));
}

/** A text as it is, anything else as JSON. */
export const textOf = (value: Json): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** What was read from a text, or why it was not. */
export type Read<V> = { ok: true; value: V } | { ok: false; why: string };

/** A text as JSON; `what` is what it should be. */
export function readJson(text: string, what: string): Read<Json> {
  try {
    return { ok: true, value: JSON.parse(text) as Json };
  } catch (thrown) {
    return { ok: false, why: `This is not ${what}: ${thrown instanceof Error ? thrown.message : 'it cannot be read'}.` };
  }
}

/** A value as people read it in a list of changes, cut where it is long. */
export function short(value: Json | undefined, max = 120): string {
  if (value === undefined) return 'nothing';
  const text = textOf(value);
  const letters = Array.from(text.length > max * 2 ? text.slice(0, max * 2) : text);
  return letters.length > max ? `${letters.slice(0, max - 1).join('')}…` : text;
}

/** A JSON pointer's parts; `~1` and `~0` are undone. */
export function pointerParts(pointer: string): string[] {
  const bare = pointer.startsWith('#') ? pointer.slice(1) : pointer;
  return bare.split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

export function pointerOf(path: Path): string {
  return path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
