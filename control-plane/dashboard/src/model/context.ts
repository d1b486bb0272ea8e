// The playground's context: which attributes a flag asks for, what is typed made into JSON, and the same question as a command.
import type { Flag } from './types.ts';
import { define, textOf, type Json, type JsonObject } from './json.ts';
import { operator } from './operators.ts';
import { readValue } from './numbers.ts';

export type AttributeKind = 'text' | 'number' | 'boolean' | 'list';

export interface AttributeField {
  name: string;
  kind: AttributeKind;
  /** Values that the conditions compare with, to choose from. */
  examples: string[];
}

/** One field for each attribute that a condition, a target or the bucketing mentions; the targeting key comes first. */
export function attributesOf(flag: Flag): AttributeField[] {
  const fields = new Map<string, AttributeField>();
  const add = (name: string, kind: AttributeKind, examples: readonly string[] = []) => {
    const known = fields.get(name) ?? { name, kind, examples: [] };
    for (const example of examples) if (known.examples.length < 20 && !known.examples.includes(example)) known.examples.push(example);
    fields.set(name, known);
  };
  add('targetingKey', 'text', (flag.targets ?? []).filter((target) => target.attribute == null).flatMap((target) => target.units.slice(0, 3)));
  if (flag.bucket_by != null) add(flag.bucket_by, 'text');
  for (const target of flag.targets ?? []) if (target.attribute != null) add(target.attribute, 'text', target.units.slice(0, 3));
  for (const rule of flag.rules ?? []) {
    for (const condition of rule.conditions ?? []) {
      if (condition.attribute === undefined || condition.attribute === 'currentTime') continue;
      add(condition.attribute, kindOf(condition.op, condition.values ?? []), (condition.values ?? []).slice(0, 8).map(textOf));
    }
  }
  return [...fields.values()];
}

function kindOf(op: string, values: readonly Json[]): AttributeKind {
  if (op === 'contains_any' || op === 'contains_all') return 'list';
  if (operator(op).kind === 'number') return 'number';
  if (values.length > 0 && values.every((value) => typeof value === 'boolean')) return 'boolean';
  if (values.length > 0 && values.every((value) => typeof value === 'number')) return 'number';
  return 'text';
}

export type ContextOutcome = { ok: true; context: JsonObject } | { ok: false; name: string; why: string };

/** Fields left empty are attributes that are missing. A list is written with commas. */
export function contextOf(fields: readonly AttributeField[], typed: ReadonlyMap<string, string>): ContextOutcome {
  const context: JsonObject = {};
  for (const { name, kind } of fields) {
    const text = typed.get(name) ?? '';
    if (text === '') continue;
    if (kind === 'number') {
      const read = readValue(text);
      if (!read.ok) return { ok: false, name, why: read.why };
      define(context, name, read.value);
    } else if (kind === 'boolean') define(context, name, text === 'true');
    else if (kind === 'list') define(context, name, text.split(',').map((part) => part.trim()).filter((part) => part !== ''));
    else define(context, name, text);
  }
  return { ok: true, context };
}

/** A command for a POSIX shell: nothing in a value can end the quotes. */
export function curlOf(url: string, body: Json): string {
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
  return `curl -s ${quoted(url)} -H "Authorization: Bearer $FLAGFUSE_TOKEN" -H 'content-type: application/json' -d ${quoted(JSON.stringify(body))}`;
}
