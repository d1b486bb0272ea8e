// What a fuse is doing and what would move it, in words.
import { clock, duration, percent } from './words.ts';
import type { Schemas } from '../api';
import type { Circuit } from './types.ts';

type FuseLike = Pick<Schemas['FuseAnswer'], 'circuit' | 'opened_by_hand' | 'acted_ms' | 'attempt' | 'policy'>;
type AttemptLike = Schemas['AttemptAnswer'];

export interface MoveInWords { to: Circuit; words: string }

export function movesOf(fuse: FuseLike): MoveInWords[] {
  if (fuse.circuit === 'CLOSED') return [{ to: 'OPEN', words: 'when a guardrail’s evidence of harm reaches what it needs, or when somebody trips it.' }];
  if (fuse.circuit === 'OPEN') {
    const later = fuse.opened_by_hand ? 'when a person says so: it was opened by hand.' : `${fuse.policy.half_open === 'after_cooldown' ? 'when the cooldown is over' : 'when its cooldown is over'}${cooldownEnd(fuse)}, with a probe of ${percent(fuse.policy.half_open_percent ?? 10)}.`;
    return [{ to: 'HALF_OPEN', words: later }, { to: 'CLOSED', words: 'when a person closes it.' }];
  }
  return [
    { to: 'CLOSED', words: 'when the probe shows that what tripped is no longer there, or when a person closes it.' },
    { to: 'OPEN', words: 'when the probe harms, or when somebody trips it.' },
  ];
}

function cooldownEnd(fuse: FuseLike): string {
  if (fuse.acted_ms === null) return '';
  return `, not before ${clock(fuse.acted_ms + (fuse.policy.cooldown_s ?? 300) * 1000)} UTC`;
}

/** `CLOSED · stage 2 of 5 · 5 % see it · next step in 3 h 10 min` */
export function standingOf(fuse: FuseLike, now: number): string {
  const { attempt } = fuse;
  const parts: string[] = [fuse.circuit.replace('_', ' ')];
  if (attempt === null || fuse.circuit === 'OPEN') parts.push('nobody sees the feature');
  else {
    if (attempt.stages.length > 1) parts.push(`stage ${attempt.stage} of ${attempt.stages.length}`);
    parts.push(`${percent(attempt.exposed_percent)} see it`);
    parts.push(...nextInWords(attempt, now));
  }
  return parts.join(' · ');
}

function nextInWords(attempt: AttemptLike, now: number): string[] {
  if (attempt.ramp_held) return ['a person holds the ramp'];
  const { next } = attempt;
  if (next === null) return attempt.stages.length > 1 && attempt.stage === attempt.stages.length ? ['the last stage'] : [];
  if (next.waits_for.length === 0) return [`next step to ${percent(next.exposed_percent)} any moment`];
  const wait = next.opens_ms - now;
  return [wait > 0 ? `next step to ${percent(next.exposed_percent)} in ${duration(wait)} at the earliest` : `next step to ${percent(next.exposed_percent)} waits`];
}

/** What may be done by hand now; the server has the last word. */
export function actionsOf(fuse: FuseLike): string[] {
  const actions: string[] = [];
  if (fuse.circuit !== 'OPEN') actions.push('trip');
  if (fuse.circuit === 'OPEN') actions.push('half-open');
  if (fuse.circuit !== 'CLOSED') actions.push('close');
  if (fuse.circuit === 'CLOSED' && (fuse.attempt?.stages.length ?? 0) > 1) {
    actions.push(fuse.attempt?.ramp_held === true ? 'resume' : 'hold');
    if (fuse.attempt !== null && fuse.attempt.stage < fuse.attempt.stages.length) actions.push('advance');
  }
  if (fuse.circuit === 'CLOSED') actions.push('reset');
  return actions;
}

const DECISIONS: Record<string, string> = {
  continue: 'Goes on', hold: 'Holds', trip: 'Tripped', half_open: 'Tries again', close: 'Closed', advance: 'Opens the next stage', recover: 'Recovered', promote: 'Promoted',
};

export function decisionInWords(decision: string): string {
  return Object.hasOwn(DECISIONS, decision) ? (DECISIONS[decision] ?? decision) : decision;
}

const REASONS: Record<string, string> = {
  no_data: 'nothing to compare yet', no_control: 'no control units yet', sample_ratio_mismatch: 'the arms’ sizes cannot come from their shares', incident: 'control is beyond the limit too',
  suspected_harm: 'evidence of harm that may only hold', sample_too_small: 'too few units', confidence_too_low: 'too few units', too_few_events: 'too few events', harm: 'harm',
  neutral: 'within limits', within_limits: 'within limits', recovered: 'recovered', cooldown: 'cooling down', blind: 'events are late', opened_by_hand: 'opened by hand', telemetry_stale: 'an edge’s buffer is behind',
  few_networks: 'harm from too few networks', platform_incident: 'an SLO pages: no flag is blamed', inconclusive: 'the stage lasts longer than its window', evidence_corrupt: 'the counts contradict themselves',
};

export function reasonInWords(reason: string): string {
  return Object.hasOwn(REASONS, reason) ? (REASONS[reason] ?? reason) : reason.replaceAll('_', ' ');
}

export function toneOfFinding(finding: string): 'good' | 'warn' | 'bad' | 'quiet' {
  if (finding === 'harm') return 'bad';
  if (finding === 'suspected_harm' || finding === 'sample_ratio_mismatch' || finding === 'incident') return 'warn';
  return finding === 'neutral' || finding === 'recovered' ? 'good' : 'quiet';
}

export interface AnytimeLike { progress: number; evidence: number; evidence_needed: number; recovery: number; recovery_needed: number }

/** Harm to the right, no harm to the left; each by logarithms, as the evidence itself grows. */
export function meterOf(anytime: AnytimeLike): { harm: number; noHarm: number } {
  return { harm: clamp(anytime.progress), noHarm: logarithmic(anytime.recovery, anytime.recovery_needed) };
}

function logarithmic(value: number, needed: number): number {
  if (!(value > 1) || !(needed > 1)) return 0;
  return clamp((Math.log(value) / Math.log(needed)) * 100);
}

function clamp(value: number): number {
  return Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : 0;
}
