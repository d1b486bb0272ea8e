// Lists whose items have names, such as rules and variations: they are compared and merged by name, whatever their place.
import { field, type Json, type Path } from './json.ts';

/** The fields that name an item of a list, by the name of the list. */
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
