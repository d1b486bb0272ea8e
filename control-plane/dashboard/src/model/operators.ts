// The operators of conditions: what they are called, which values they take, how many.
import type { Json } from './json.ts';
import { listed, valueText } from './words.ts';

export type ValueKind = 'any' | 'text' | 'number' | 'time' | 'version' | 'network' | 'segment' | 'none';

export interface OperatorInfo {
  op: string;
  label: string;
  /** The same where the condition is negated. */
  not: string;
  kind: ValueKind;
  folds?: boolean;
  /** The most values that it takes, where that is not as many as there is room for. */
  most?: number;
  lenient?: boolean;
}

export const OPERATORS: readonly OperatorInfo[] = [
  { op: 'in', label: 'is one of', not: 'is none of', kind: 'any', folds: true },
  { op: 'contains', label: 'contains', not: 'does not contain', kind: 'text', folds: true },
  { op: 'starts_with', label: 'starts with', not: 'does not start with', kind: 'text', folds: true },
  { op: 'ends_with', label: 'ends with', not: 'does not end with', kind: 'text', folds: true },
  { op: 'matches', label: 'matches the pattern', not: 'does not match the pattern', kind: 'text', folds: true, most: 8 },
  { op: 'less_than', label: 'is less than', not: 'is not less than', kind: 'number', most: 1 },
  { op: 'at_most', label: 'is at most', not: 'is not at most', kind: 'number', most: 1 },
  { op: 'greater_than', label: 'is greater than', not: 'is not greater than', kind: 'number', most: 1 },
  { op: 'at_least', label: 'is at least', not: 'is not at least', kind: 'number', most: 1 },
  { op: 'before', label: 'is before', not: 'is not before', kind: 'time', most: 1 },
  { op: 'after', label: 'is after', not: 'is not after', kind: 'time', most: 1 },
  { op: 'semver_equal', label: 'is version', not: 'is not version', kind: 'version', lenient: true },
  { op: 'semver_less_than', label: 'is a version before', not: 'is not a version before', kind: 'version', most: 1, lenient: true },
  { op: 'semver_at_most', label: 'is at most version', not: 'is not at most version', kind: 'version', most: 1, lenient: true },
  { op: 'semver_greater_than', label: 'is a version after', not: 'is not a version after', kind: 'version', most: 1, lenient: true },
  { op: 'semver_at_least', label: 'is at least version', not: 'is not at least version', kind: 'version', most: 1, lenient: true },
  { op: 'in_cidr', label: 'is in the network', not: 'is not in the network', kind: 'network' },
  { op: 'contains_any', label: 'has any of', not: 'has none of', kind: 'any', folds: true },
  { op: 'contains_all', label: 'has all of', not: 'lacks one of', kind: 'any', folds: true, most: 64 },
  { op: 'in_segment', label: 'is in the segment', not: 'is not in the segment', kind: 'segment' },
  { op: 'exists', label: 'is there', not: 'is missing', kind: 'none' },
];

const BY_NAME = new Map(OPERATORS.map((info) => [info.op, info]));

/** What is known of an operator; one that this page does not know is shown by its name. */
export function operator(op: string): OperatorInfo {
  return BY_NAME.get(op) ?? { op, label: op, not: `not ${op}`, kind: 'any' };
}

export function isKnownOperator(op: string): boolean {
  return BY_NAME.has(op);
}

export interface ConditionLike { attribute?: string; op: string; values?: readonly Json[]; negate?: boolean }

export function conditionInWords(condition: ConditionLike): string {
  const info = operator(condition.op);
  const verb = condition.negate === true ? info.not : info.label;
  const subject = condition.attribute ?? 'the unit';
  return info.kind === 'none' ? `${subject} ${verb}` : `${subject} ${verb} ${listed(condition.values ?? [], valueText)}`;
}
