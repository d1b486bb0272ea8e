// What differs between two JSON documents, field by field.
import { define, field, isObject, type Json, type JsonObject, type Path, same } from './json.ts';

export interface FieldChange { path: Path; kind: 'added' | 'removed' | 'altered' | 'moved'; before: Json | undefined; after: Json | undefined }

export function diff(before: Json | undefined, after: Json | undefined, path: Path = []): FieldChange[] {
  if (same(before, after)) return [];
  if (isObject(before) && isObject(after)) return diffObjects(before, after, path);
  if (Array.isArray(before) && Array.isArray(after)) {
    const old = namesOf(before, path);
    const now = namesOf(after, path);
    if (old !== undefined && now !== undefined && !isPlain(before) && !isPlain(after)) {
      return diffNamed({ names: old, items: before }, { names: now, items: after }, path);
    }
  }
  const kind = before === undefined ? 'added' : after === undefined ? 'removed' : 'altered';
  return [{ path, kind, before, after }];
}

function isPlain(list: readonly Json[]): boolean {
  return list.length > 0 && list.every((item) => typeof item === 'string');
}

function diffObjects(before: JsonObject, after: JsonObject, path: Path): FieldChange[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return names.flatMap((name) => diff(field(before, name), field(after, name), [...path, name]));
}

interface NamedList { names: string[]; items: readonly Json[] }

function diffNamed(before: NamedList, after: NamedList, path: Path): FieldChange[] {
  const all = [...new Set([...before.names, ...after.names])];
  // A list has nothing at the place of a name that it has not.
  const changes = all.flatMap((name) => diff(before.items[before.names.indexOf(name)], after.items[after.names.indexOf(name)], [...path, name]));
  const kept = after.names.filter((name) => before.names.includes(name));
  const was = inOrder(kept, before.names);
  if (!same(kept, was)) changes.push({ path, kind: 'moved', before: was, after: kept });
  return changes;
}

/** `rules › beta › percentage` */
export function pathInWords(path: Path): string {
  return path.length === 0 ? 'everything' : path.join(' › ');
}

/** What two lists of texts have that the other one has not: for long lists, which nobody reads whole. */
export function listChange(before: Json | undefined, after: Json | undefined): { added: string[]; removed: string[] } | undefined {
  if (!Array.isArray(before) || !Array.isArray(after)) return undefined;
  if (![...before, ...after].every((item) => typeof item === 'string' || typeof item === 'number')) return undefined;
  const old = new Set(before.map(String));
  const now = new Set(after.map(String));
  return { added: [...now].filter((item) => !old.has(item)), removed: [...old].filter((item) => !now.has(item)) };
}

/** What turns one document into another as a JSON merge patch (RFC 7396): lists whole, null for what goes. */
export function mergePatch(before: JsonObject, after: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [field(before, name), field(after, name)];
    if (same(old, now)) continue;
    if (now === undefined) define(patch, name, null);
    else define(patch, name, isObject(old) && isObject(now) ? mergePatch(old, now) : now);
  }
  return patch;
}

/**
 * Lists whose items have names, such as rules and variations, are compared and merged by name, whatever their place: the fields that
 * name an item, by the name of the list.
 */
const NAMES: Record<string, readonly string[]> = {
  rules: ['key'],
  variations: ['key'],
  prerequisites: ['flag'],
  targets: ['variation', 'attribute'],
  split: ['variation'],
  guardrails: ['metric'],
};

/** Names of the items, or nothing where one has none or two have the same. */
export function namesOf(list: readonly Json[], path: Path): string[] | undefined {
  const last = path[path.length - 1] ?? '';
  const fields = Object.hasOwn(NAMES, last) ? NAMES[last] : undefined;
  const names: string[] = [];
  for (const item of list) {
    if (fields === undefined) {
      if (typeof item !== 'string') return undefined;
      names.push(item);
    } else {
      const parts = fields.map((name) => field(item, name)).filter((part) => part !== undefined && part !== null);
      if (parts.length === 0 || parts.some((part) => typeof part !== 'string')) return undefined;
      names.push(parts.join(' by '));
    }
  }
  return new Set(names).size === names.length ? names : undefined;
}

/** `yours` put into the order of `wanted`; what `wanted` does not know follows the one it followed before. */
export function inOrder(names: readonly string[], wanted: readonly string[]): string[] {
  const known = new Set(names);
  const result = wanted.filter((name) => known.has(name));
  const placed = new Set(result);
  names.forEach((name, at) => {
    if (placed.has(name)) return;
    const before = names.slice(0, at).reverse().find((other) => placed.has(other));
    result.splice(before === undefined ? 0 : result.indexOf(before) + 1, 0, name);
    placed.add(name);
  });
  return result;
}
