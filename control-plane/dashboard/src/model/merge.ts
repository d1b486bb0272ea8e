// Two people's edits of one document, put together field by field: what only one of them changed is kept, what both changed is asked.
import { define, field, isObject, pointerOf, same, type Json, type JsonObject, type Path } from './json.ts';
import { inOrder, namesOf } from './diff.ts';

export interface FieldConflict { path: Path; base: Json | undefined; yours: Json | undefined; theirs: Json | undefined }

export type Side = 'yours' | 'theirs';
/** What was chosen, by the pointer of the field. */
export type Choices = ReadonlyMap<string, Side>;

export interface Merged {
  result: Json | undefined;
  conflicts: FieldConflict[];
  /** Conflicts that nobody has chosen about; `result` has theirs there. */
  open: number;
}

export function merge(base: Json | undefined, yours: Json | undefined, theirs: Json | undefined, choices: Choices = new Map()): Merged {
  const found: FieldConflict[] = [];
  const result = mergeAt({ choices, found }, base, yours, theirs, []);
  return { result, conflicts: found, open: found.filter((conflict) => !choices.has(pointerOf(conflict.path))).length };
}

interface Run { choices: Choices; found: FieldConflict[] }

function mergeAt(run: Run, base: Json | undefined, yours: Json | undefined, theirs: Json | undefined, path: Path): Json | undefined {
  if (same(yours, theirs) || same(base, theirs)) return yours;
  if (same(base, yours)) return theirs;
  if (isObject(yours) && isObject(theirs) && (base === undefined || isObject(base))) {
    return mergeObjects(run, base ?? {}, yours, theirs, path);
  }
  if (Array.isArray(yours) && Array.isArray(theirs)) {
    const merged = mergeLists(run, Array.isArray(base) ? base : [], yours, theirs, path);
    if (merged !== undefined) return merged;
  }
  return conflict(run, { path, base, yours, theirs });
}

function conflict(run: Run, found: FieldConflict): Json | undefined {
  run.found.push(found);
  return run.choices.get(pointerOf(found.path)) === 'yours' ? found.yours : found.theirs;
}

function mergeObjects(run: Run, base: JsonObject, yours: JsonObject, theirs: JsonObject, path: Path): JsonObject {
  const result: JsonObject = {};
  for (const name of new Set([...Object.keys(theirs), ...Object.keys(yours)])) {
    const part = mergeAt(run, field(base, name), field(yours, name), field(theirs, name), [...path, name]);
    if (part !== undefined) define(result, name, part);
  }
  return result;
}

/** Lists of named items, or of texts: both additions stay, both removals are done, and a new order is kept. */
function mergeLists(run: Run, base: readonly Json[], yours: readonly Json[], theirs: readonly Json[], path: Path): Json[] | undefined {
  const [baseNames, yourNames, theirNames] = [base, yours, theirs].map((list) => namesOf(list, path));
  if (baseNames === undefined || yourNames === undefined || theirNames === undefined) return undefined;
  const at = (list: readonly Json[], names: readonly string[], name: string) => list[names.indexOf(name)];
  const parts = new Map<string, Json>();
  for (const name of new Set([...theirNames, ...yourNames])) {
    const part = mergeAt(run, at(base, baseNames, name), at(yours, yourNames, name), at(theirs, theirNames, name), [...path, name]);
    if (part !== undefined) parts.set(name, part);
  }
  const order = mergeOrder(run, baseNames, yourNames, theirNames, path);
  return inOrder([...parts.keys()], order).flatMap((name) => {
    const part = parts.get(name);
    return part === undefined ? [] : [part];
  });
}

function mergeOrder(run: Run, base: string[], yours: string[], theirs: string[], path: Path): string[] {
  const common = new Set(base.filter((name) => yours.includes(name) && theirs.includes(name)));
  const [was, mine, their] = [base, yours, theirs].map((names) => names.filter((name) => common.has(name)));
  const all = (first: string[], second: string[]) => inOrder([...new Set([...first, ...second])], first);
  if (same(was, mine) || same(mine, their)) return all(theirs, yours);
  if (same(was, their)) return all(yours, theirs);
  const isTexts = path[path.length - 1] === 'units' || path[path.length - 1] === 'values';
  if (isTexts) return all(theirs, yours);
  run.found.push({ path: [...path, '(order)'], base, yours, theirs });
  return run.choices.get(pointerOf([...path, '(order)'])) === 'yours' ? all(yours, theirs) : all(theirs, yours);
}
