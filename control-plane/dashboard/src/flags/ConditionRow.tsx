// One condition: attribute, operator, values. What an operator does not read is not offered.
import { ActionIcon, Autocomplete, Checkbox, NativeSelect, Tooltip } from '@mantine/core';
import { X } from 'lucide-react';
import { OPERATORS, operator } from '../model/operators.ts';
import { setPart } from '../model/edits.ts';
import { memo } from 'react';
import type { Condition } from '../model/types.ts';
import { useFault } from './faults';
import { ValueTags } from './ValueTags';

interface ConditionRowProps {
  condition: Condition;
  /** Place among the rule's conditions. */
  at: number;
  pointer: string;
  attributes: readonly string[];
  segments: readonly string[];
  isDisabled: boolean;
  onChange: (at: number, condition: Condition) => void;
  onRemove: (at: number) => void;
}

const CHOICES = OPERATORS.flatMap((info) => [
  { value: info.op, label: info.label },
  { value: `!${info.op}`, label: info.not },
]);

export const ConditionRow = memo(function ConditionRow({ condition, at, pointer, attributes, segments, isDisabled, onChange, onRemove }: ConditionRowProps) {
  const set = (next: Condition) => onChange(at, next);
  const info = operator(condition.op);
  const attributeFault = useFault(`${pointer}/attribute`);
  const opFault = useFault(`${pointer}/op`);
  const value = condition.negate === true ? `!${condition.op}` : condition.op;
  const choices = CHOICES.some((choice) => choice.value === value) ? CHOICES : [...CHOICES, { value, label: value }];
  const choose = (chosen: string) => {
    const op = chosen.replace('!', '');
    const { kind } = operator(op);
    const compared = setPart(setPart({ ...condition, op }, 'negate', chosen.startsWith('!')), 'values', kind === 'none' ? undefined : (condition.values ?? []));
    // A segment is asked about the unit itself.
    const next = kind === 'segment' ? setPart(compared, 'attribute', undefined) : compared;
    set(setPart(setPart(next, 'ignore_case', operator(op).folds === true ? condition.ignore_case : undefined), 'lenient', operator(op).lenient === true ? condition.lenient : undefined));
  };
  const kind = info.kind === 'number' || (info.kind === 'any' && (condition.values ?? []).some((one) => typeof one === 'number')) ? 'number' : 'text';
  return (
    <div className="condition" role="group" aria-label={`Condition on ${condition.attribute ?? 'the unit'}`}>
      <Autocomplete
        aria-label="Attribute" placeholder={info.kind === 'segment' ? 'the unit' : 'attribute'} size="sm" data={[...attributes]} value={condition.attribute ?? ''} disabled={isDisabled || info.kind === 'segment'} error={attributeFault}
        onChange={(attribute) => set(setPart(condition, 'attribute', attribute === '' ? undefined : attribute))}
      />
      <NativeSelect aria-label="Operator" size="sm" data={choices} value={value} disabled={isDisabled} error={opFault} onChange={(event) => choose(event.currentTarget.value)} />
      <div className="condition-values">
        {info.kind === 'none' ? null : (
          <ValueTags
            label={`Values of ${condition.attribute ?? 'the condition'}`} values={condition.values ?? []} kind={kind} pointer={`${pointer}/values`} isDisabled={isDisabled} suggestions={info.kind === 'segment' ? segments : []}
            onChange={(values) => set({ ...condition, values })} {...(info.most === undefined ? {} : { limit: info.most })} {...placeholderFor(info.kind)}
          />
        )}
        {info.folds === true ? <Checkbox size="xs" mt={4} label="any case" checked={condition.ignore_case === true} disabled={isDisabled} onChange={(event) => set(setPart(condition, 'ignore_case', event.currentTarget.checked))} /> : null}
        {info.lenient === true ? <Checkbox size="xs" mt={4} label="v1.2, 2 too" checked={condition.lenient === true} disabled={isDisabled} onChange={(event) => set(setPart(condition, 'lenient', event.currentTarget.checked))} /> : null}
      </div>
      {isDisabled ? null : (
        <Tooltip label="Remove this condition">
          <ActionIcon variant="subtle" color="gray" mt={3} aria-label={`Remove the condition on ${condition.attribute ?? 'the unit'}`} onClick={() => onRemove(at)}><X size={15} /></ActionIcon>
        </Tooltip>
      )}
    </div>
  );
});

function placeholderFor(kind: string): { placeholder?: string } {
  if (kind === 'time') return { placeholder: '2026-11-30T14:00:00Z' };
  if (kind === 'version') return { placeholder: '2.1.0' };
  if (kind === 'network') return { placeholder: '10.0.0.0/8' };
  if (kind === 'segment') return { placeholder: 'segment' };
  return {};
}
