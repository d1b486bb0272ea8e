// What differs between two JSON documents, field by field.
import { define, field, isObject, same, type Json, type JsonObject, type Path } from './json.ts';
import { inOrder, namesOf } from './lists.ts';

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
