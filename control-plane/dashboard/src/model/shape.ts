// What a flag looks like: whether a document has its shape, and whether this build understands it whole. What its parts mean is the server's to judge.
import { field, isObject, type Json, type JsonObject, type Read, readJson } from './json.ts';
import { isKnownOperator } from './operators.ts';

type Part = 'text' | 'number' | 'truth' | 'anything' | 'cohort' | [Part] | Fields;
/** Fields with a `!` have to be there; others may be left out or null. */
interface Fields { [field: string]: Part }

const CONDITION: Fields = { attribute: 'text', 'op!': 'text', values: ['anything'], negate: 'truth', ignore_case: 'truth', coerce: 'truth', lenient: 'truth' };
const SCHEDULE: Fields = { from_ms: 'number', until_ms: 'number' };
const FLAG: Fields = {
  'key!': 'text', 'value_type!': 'text', 'variations!': [{ 'key!': 'text', 'value!': 'anything' }], description: 'text', enabled: 'truth', off_variation: 'text',
  default_variation: 'text', on_stale: 'text', holdout: 'text', salt: 'text', bucket_by: 'text', unleash: 'anything', cohort: 'cohort', schedule: SCHEDULE,
  prerequisites: [{ 'flag!': 'text', 'variations!': ['text'] }], targets: [{ 'variation!': 'text', 'units!': ['text'], attribute: 'text' }],
  layer: { 'key!': 'text', 'from!': 'number', 'to!': 'number' },
  rules: [{ 'key!': 'text', conditions: [CONDITION], percentage: 'number', 'split!': [{ 'variation!': 'text', weight: 'number' }], schedule: SCHEDULE, unleash: 'anything' }],
};

const PLAIN = { text: ['string', 'a text'], number: ['number', 'a number'], truth: ['boolean', 'true or false'] } as const;

function problemIn(value: Json, part: Part, at: string): string | undefined {
  if (part === 'anything') return undefined;
  // The fuse's: its bar is drawn, and nothing in it is edited.
  if (part === 'cohort') return Array.isArray(field(value, 'slices')) ? undefined : `${at} has to have slices.`;
  if (typeof part === 'string') return typeof value === PLAIN[part][0] ? undefined : `${at} has to be ${PLAIN[part][1]}.`;
  if (Array.isArray(part)) return Array.isArray(value) ? first(value.keys(), (place) => problemIn(value[place] ?? null, part[0], `${at}/${place}`)) : `${at} has to be a list.`;
  if (!isObject(value)) return `${at === '' ? 'A flag' : at} has to be an object.`;
  return first(Object.keys(part), (name) => {
    const bare = name.replace('!', '');
    const found = field(value, bare);
    if (found === undefined) return name === bare ? undefined : `${at}/${bare} is missing.`;
    return found === null ? undefined : problemIn(found, part[name] ?? 'anything', `${at}/${bare}`);
  });
}

function first<T>(items: Iterable<T>, find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** JSON pointers of what this page does not know, at most `max`. One flag that has such a field is shown, and not edited, so nothing is dropped. */
export function unknownParts(flag: Json, max = 5): string[] {
  const found: string[] = [];
  walk(flag, FLAG, '', found);
  return found.slice(0, max);
}

function walk(value: Json | undefined, part: Part, at: string, found: string[]): void {
  if (typeof part === 'string') return;
  if (Array.isArray(part)) return Array.isArray(value) && part[0] !== 'anything' ? value.forEach((item, place) => walk(item, part[0], `${at}/${place}`, found)) : undefined;
  if (!isObject(value)) return;
  for (const [name, inner] of Object.entries(value)) {
    const known = Object.hasOwn(part, name) ? part[name] : Object.hasOwn(part, `${name}!`) ? part[`${name}!`] : undefined;
    if (known === undefined) found.push(`${at}/${name}`);
    else walk(inner, known, `${at}/${name}`, found);
    if (part === CONDITION && name === 'op' && typeof inner === 'string' && !isKnownOperator(inner)) found.push(`${at}/op (${inner})`);
  }
}

/** The first thing that is not as it has to be, or nothing. */
export function shapeProblem(value: Json): string | undefined {
  return problemIn(value, FLAG, '');
}

/** A flag typed as JSON. Its key is its address, so it stays. */
export function parseFlag(source: string, key: string): Read<JsonObject> {
  const read = readJson(source, 'JSON');
  if (!read.ok) return read;
  const { value } = read;
  const wrong = shapeProblem(value);
  if (wrong !== undefined || !isObject(value)) return { ok: false, why: wrong ?? 'A flag has to be an object.' };
  return field(value, 'key') === key ? { ok: true, value } : { ok: false, why: `/key is the flag's address and has to stay “${key}”.` };
}
