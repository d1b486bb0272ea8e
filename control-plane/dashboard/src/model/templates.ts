// New flags, and policies by template. A new flag serves nobody until somebody says otherwise.
import type { Json, JsonObject } from './json.ts';
import templates from './templates.json' with { type: 'json' };

export type FlagTemplate = 'boolean' | 'string' | 'integer' | 'float' | 'object';

const VALUES: Record<FlagTemplate, [string, Json, string, Json]> = {
  boolean: ['on', true, 'off', false],
  string: ['new', 'new', 'old', 'old'],
  integer: ['new', 1, 'old', 0],
  float: ['new', 1.5, 'old', 1],
  object: ['new', { version: 2 }, 'old', { version: 1 }],
};

/** On, with nothing but its default: whoever asks gets the second variation, the old behaviour. */
export function newFlag(key: string, template: FlagTemplate, description: string): JsonObject {
  const [first, value, second, other] = VALUES[template];
  const flag: JsonObject = {
    key,
    value_type: template,
    variations: [{ key: first, value }, { key: second, value: other }],
    off_variation: second,
    default_variation: second,
    enabled: true,
  };
  return description === '' ? flag : { ...flag, description };
}

export interface FuseTemplate { id: string; title: string; says: string; policy: JsonObject }

/** Each without the variations that it compares. */
export const FUSE_TEMPLATES: readonly FuseTemplate[] = templates as unknown as FuseTemplate[];

export function policyBy(id: string, treatment: string, control: string): JsonObject | undefined {
  const found = FUSE_TEMPLATES.find((one) => one.id === id);
  return found === undefined ? undefined : { mode: 'anytime', treatment_variation: treatment, control_variation: control, ...found.policy };
}

/** What a flag may be called, checked while it is typed; the server checks again and has the last word. */
export function keyProblem(key: string): string | undefined {
  if (key === '') return undefined;
  if (new TextEncoder().encode(key).length > 256) return 'A key has at most 256 bytes.';
  if (key === '.' || key === '..') return 'A key has to be more than dots.';
  if (key !== key.trim()) return 'A key neither begins nor ends with a space.';
  return undefined;
}

/** `rule-1`, `rule-2` …: the first name that is free. */
export function freeKey(stem: string, taken: readonly string[]): string {
  let number = 1;
  while (taken.includes(`${stem}-${number}`)) number += 1;
  return `${stem}-${number}`;
}
