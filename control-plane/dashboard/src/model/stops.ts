// The stops of a flag in the order in which it decides, and the sentence that says what it does.
import type { Circuit, CohortSlice, Flag } from './types.ts';
import { conditionInWords } from './operators.ts';
import { clock, count, counted, percent } from './words.ts';

export type StopId = 'off' | 'schedule' | 'on_stale' | 'prerequisites' | 'targets' | 'holdout' | 'layer' | 'rules' | 'cohort' | 'default';

export interface Stop {
  id: StopId;
  title: string;
  /** Whether the flag uses it; the others are drawn grey. */
  used: boolean;
  words: string;
}

export interface Clause { text: string; stop: StopId; strong?: boolean }

/** A bucket is a millionth of the units. */
export const BUCKETS = 1_000_000;

export function stopsOf(flag: Flag): Stop[] {
  const layer = flag.layer ?? null;
  const targets = flag.targets ?? [];
  const named = targets.reduce((sum, target) => sum + target.units.length, 0);
  const rules = flag.rules ?? [];
  const needed = flag.prerequisites ?? [];
  const off = flag.off_variation ?? null;
  return [
    { id: 'off', title: 'Off', used: flag.enabled === false, words: flag.enabled === false ? `Off: everyone gets ${served(off)}.` : `On. When off, everyone gets ${served(off)}.` },
    { id: 'schedule', title: 'Schedule', used: flag.schedule != null, words: scheduleInWords(flag) },
    { id: 'on_stale', title: 'When stale', used: (flag.on_stale ?? 'keep') !== 'keep', words: staleInWords(flag.on_stale) },
    { id: 'prerequisites', title: 'Prerequisites', used: needed.length > 0, words: needed.length === 0 ? 'None.' : `Off unless ${needed.map((one) => `${one.flag} serves ${one.variations.join(' or ')}`).join(', and ')}.` },
    { id: 'targets', title: 'Targets', used: named > 0, words: named === 0 ? 'Nobody by name.' : targets.map((target) => `${counted(target.units.length, 'unit')} by name get ${served(target.variation)}`).join('; ') + '.' },
    { id: 'holdout', title: 'Holdout', used: flag.holdout === 'exempt', words: flag.holdout === 'exempt' ? 'Exempt: units of the environment’s holdout go on.' : 'Units of the environment’s holdout get the default.' },
    { id: 'layer', title: 'Layer', used: layer !== null, words: layer === null ? 'In no layer.' : `${percent(((layer.to - layer.from) / BUCKETS) * 100)} of the layer ${layer.key}; units outside get the default.` },
    { id: 'rules', title: 'Rules', used: rules.length > 0, words: rules.length === 0 ? 'None.' : `${counted(rules.length, 'rule')}; the first that matches decides.` },
    { id: 'cohort', title: 'Cohort', used: flag.cohort != null, words: cohortInWords(flag) },
    { id: 'default', title: 'Default', used: true, words: `Everyone else gets ${served(flag.default_variation ?? null)}.` },
  ];
}

function served(variation: string | null): string {
  return variation === null ? 'the default in the code' : `“${variation}”`;
}

function scheduleInWords(flag: Flag): string {
  const { from_ms: from, until_ms: until } = flag.schedule ?? {};
  if (from == null && until == null) return 'At all times.';
  const parts = [from == null ? '' : `from ${clock(from, true)} UTC`, until == null ? '' : `until ${clock(until, true)} UTC`];
  return `Only ${parts.filter((part) => part !== '').join(' ')}; otherwise off.`;
}

function staleInWords(rule: string | undefined): string {
  if (rule === 'default') return 'When freshness cannot be proven, everyone gets the default.';
  if (rule === 'off') return 'When freshness cannot be proven, the flag is off.';
  return 'When freshness cannot be proven, it goes on deciding.';
}

/** The share of each arm in the cohort, in percent of all units. */
export function cohortShares(slices: readonly CohortSlice[] = []): { exposed: number; control: number } {
  const sum = (arm: string) => slices.filter((slice) => slice.arm === arm).reduce((all, slice) => all + (slice.to - slice.from), 0);
  return { exposed: (sum('exposed') / BUCKETS) * 100, control: (sum('control') / BUCKETS) * 100 };
}

function cohortInWords(flag: Flag): string {
  if (flag.cohort == null) return 'No fuse gives this flag a cohort.';
  const shares = cohortShares(flag.cohort.slices);
  return `${percent(shares.exposed)} exposed, ${percent(shares.control)} kept as control, by the fuse.`;
}

/** What a rule does, in words. */
export function ruleInWords(rule: NonNullable<Flag['rules']>[number]): string {
  const conditions = (rule.conditions ?? []).map(conditionInWords);
  const who = conditions.length === 0 ? 'Everyone' : `When ${conditions.join(', and ')}`;
  return `${who}${rule.percentage == null ? '' : `, for ${percent(rule.percentage)} of them`}: ${splitInWords(rule.split)}.`;
}

export function splitInWords(split: readonly { variation: string; weight?: number }[]): string {
  const total = split.reduce((sum, part) => sum + (part.weight ?? 1), 0);
  if (split.length === 1) return `serve “${split[0]?.variation ?? ''}”`;
  if (split.length === 0 || total === 0) return 'serve nothing yet';
  return `split ${split.map((part) => `“${part.variation}” ${percent(((part.weight ?? 1) / total) * 100)}`).join(' · ')}`;
}

/** The sentence on top of a flag; each clause belongs to a stop. */
export function sentenceOf(flag: Flag, environment: string, circuit?: Circuit): Clause[] {
  const clauses: Clause[] = [];
  const add = (stop: StopId, text: string, strong = false) => clauses.push(strong ? { stop, text, strong } : { stop, text });
  if (flag.enabled === false) {
    add('off', `In ${environment} this flag is off:`, true);
    add('off', `everyone gets ${served(flag.off_variation ?? null)}.`);
    return clauses;
  }
  add('off', `In ${environment} this flag is on.`, true);
  const stops = new Map(stopsOf(flag).map((stop) => [stop.id, stop]));
  for (const id of ['schedule', 'on_stale', 'prerequisites', 'targets', 'holdout', 'layer'] as const) {
    const stop = stops.get(id);
    if (stop?.used === true) add(id, stop.words);
  }
  const rules = flag.rules ?? [];
  if (rules.length === 1 && rules[0] !== undefined) add('rules', ruleInWords(rules[0]));
  else if (rules.length > 1) add('rules', `${count(rules.length)} rules come ${flag.cohort == null ? 'next; the first that matches decides.' : 'before the cohort.'}`);
  if (circuit === 'OPEN') add('cohort', 'Its fuse is open: the feature is served to nobody.', true);
  else if (flag.cohort != null) {
    const shares = cohortShares(flag.cohort.slices);
    add('cohort', `Then ${percent(shares.exposed)} see the feature and ${percent(shares.control)} are kept as control.`);
  }
  add('default', rules.length === 0 && flag.cohort == null && !(flag.targets ?? []).length ? `Everyone gets ${served(flag.default_variation ?? null)}.` : `Everyone else gets ${served(flag.default_variation ?? null)}.`);
  if (circuit === 'CLOSED') add('cohort', 'A closed fuse watches it.');
  if (circuit === 'HALF_OPEN') add('cohort', 'Its fuse is half open: a probe decides whether it may go on.');
  return clauses;
}

/** Stops by the names of steps; all others are within a rule. */
const STOPS = new Map<string, StopId>([
  ['off', 'off'], ['schedule', 'schedule'], ['stale', 'on_stale'], ['prerequisite', 'prerequisites'], ['target', 'targets'], ['holdout', 'holdout'], ['layer', 'layer'], ['cohort', 'cohort'], ['default', 'default'],
]);

export function endOf(steps: readonly { step: string }[], rule: unknown, arm?: unknown): { stop: StopId; rule: string | undefined } | null {
  const last = steps[steps.length - 1];
  if (last === undefined) return null;
  // Whom no arm takes in gets the default.
  const stop = last.step === 'cohort' && typeof arm !== 'string' ? 'default' : (STOPS.get(last.step) ?? 'rules');
  return { stop, rule: stop === 'rules' && typeof rule === 'string' ? rule : undefined };
}
