// What an edit still lacks, by JSON pointer: known without asking, so nobody's half-typed rule is sent and refused. The server has
// the last word on everything else.
import { operator, type ValueKind } from './operators.ts';
import type { Condition, Flag, Rule } from './types.ts';
import { field, type Json } from './json.ts';

type Tell = (pointer: string, sentence: string) => void;

export function incomplete(flag: Flag): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const tell: Tell = (pointer, sentence) => found.set(pointer, sentence);
  names(flag.variations.map((one) => one.key), (at) => `/variations/${at}`, 'variation', tell);
  const rules = flag.rules ?? [];
  names(rules.map((rule) => rule.key), (at) => `/rules/${at}/key`, 'rule', tell);
  rules.forEach((rule, at) => ofRule(rule, `/rules/${at}`, tell));
  (flag.prerequisites ?? []).forEach((one, at) => {
    if (one.flag === '') tell(`/prerequisites/${at}`, 'Name the flag.');
    else if (one.variations.length === 0) tell(`/prerequisites/${at}`, 'Name the variations that it may serve.');
  });
  const { from_ms: from, until_ms: until } = flag.schedule ?? {};
  if (from != null && until != null && from >= until) tell('/schedule', 'It has to begin before it ends.');
  if (flag.layer != null && flag.layer.from >= flag.layer.to) tell('/layer', 'The first bucket has to come before the last one.');
  return found;
}

/** Each has a name, and no two the same. */
function names(keys: readonly string[], pointer: (at: number) => string, what: string, tell: Tell): void {
  const seen = new Set<string>();
  keys.forEach((key, at) => {
    if (key === '') tell(pointer(at), `A ${what} needs a name.`);
    else if (seen.has(key)) tell(pointer(at), `Another ${what} is called “${key}”.`);
    seen.add(key);
  });
}

function ofRule(rule: Rule, pointer: string, tell: Tell): void {
  (rule.conditions ?? []).forEach((condition, at) => ofCondition(condition, `${pointer}/conditions/${at}`, tell));
  if (rule.split.reduce((sum, part) => sum + (part.weight ?? 1), 0) === 0) tell(`${pointer}/split`, 'Serve something: the weights come to 0.');
}

const VERSION = /^\d+\.\d+\.\d+([-+][\w.+-]+)?$/;
const TIME = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)$/;
const NETWORK = /^[\da-f.:]+(\/\d{1,3})?$/i;

/** What a value of that kind looks like; the other kinds take anything. */
const LOOKS: Partial<Record<ValueKind, [(value: Json) => boolean, string]>> = {
  number: [(value) => typeof value === 'number', 'Compare it with a number.'],
  time: [(value) => typeof value === 'number' || (typeof value === 'string' && TIME.test(value)), 'Write a time with its zone, such as 2026-11-30T14:00:00Z.'],
  network: [(value) => typeof value === 'string' && NETWORK.test(value), 'Write a network, such as 10.0.0.0/8.'],
  version: [(value) => typeof value === 'string' && VERSION.test(value), 'Write a version with three numbers, such as 2.1.0.'],
};

function ofCondition(condition: Condition, pointer: string, tell: Tell): void {
  const { kind, most } = operator(condition.op);
  if ((condition.attribute ?? '') === '' && kind !== 'segment') tell(`${pointer}/attribute`, 'Name an attribute.');
  if (kind === 'none') return;
  const values = condition.values ?? [];
  const [fits, sentence] = LOOKS[kind] ?? [];
  if (values.length === 0) tell(`${pointer}/values`, 'Add a value to compare with.');
  else if (most !== undefined && values.length > most) tell(`${pointer}/values`, most === 1 ? 'This compares with one value.' : `${most} values are the most.`);
  else if (fits !== undefined && condition.lenient !== true && !values.every(fits)) tell(`${pointer}/values`, sentence ?? '');
}

const ITEM = /(rules|variations|targets|prerequisites)\["((?:[^"\\]|\\.)*)"\]((?:\.\w+(?:\[\d+\])?)*)(?:: (\w+)(\[\d+\])?)?/;
const PARTS = new Set(['values', 'attribute', 'op', 'percentage', 'key', 'split', 'schedule', 'value', 'units', 'variations']);

/** The pointer of the sentence's item where there is one, else the one that was given. */
export function pointerIn(pointer: string, detail: string, doc: Json): string {
  const found = ITEM.exec(detail);
  if (found === null) return pointer;
  const [, list = '', quoted = '', rest = '', part = ''] = found;
  const name = quoted.replace(/\\(.)/g, '$1');
  const items = field(doc, list);
  const at = Array.isArray(items) ? items.findIndex((item) => ['key', 'flag', 'variation'].some((one) => field(item, one) === name)) : -1;
  if (at < 0) return pointer;
  return `/${list}/${at}${rest.replaceAll('.', '/').replace(/\[(\d+)\]/g, '/$1')}${PARTS.has(part) ? `/${part}` : ''}`;
}
