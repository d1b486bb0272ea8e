// A number with a unit, typed as text and read strictly; ticks set common values with one press.
import { Button, Group, Stack, TextInput } from '@mantine/core';
import { memo, type ReactNode } from 'react';
import { type NumberRule, plain, readNumber } from '../model/numbers.ts';
import { useText } from '../parts';
import { useFault, useReport } from './faults';

interface NumberFieldProps {
  label: string;
  isLabelHidden?: boolean;
  value: number | undefined;
  rule: NumberRule;
  pointer: string;
  /** Called with what was read; with nothing where the field was emptied and may be. */
  onChange: (value: number | undefined) => void;
  isOptional?: boolean;
  isDisabled?: boolean;
  ticks?: readonly number[];
  width?: number;
  description?: ReactNode;
}

export const NumberField = memo(function NumberField({ label, isLabelHidden = false, value, rule, pointer, onChange, isOptional = false, isDisabled = false, ticks, width = 120, description }: NumberFieldProps) {
  const { text, why, type } = useText<number | undefined>({
    value, onChange, print: (one) => (one === undefined ? '' : plain(one)), read: (typed) => (isOptional && typed.trim() === '' ? { ok: true, value: undefined } : readNumber(typed, rule)),
  });
  const fault = useFault(pointer);
  useReport(why);

  return (
    <Stack gap={4}>
      <TextInput
        {...(isLabelHidden ? { 'aria-label': `${label}, ${rule.unit}` } : { label })}
        {...(description === undefined ? {} : { description })}
        value={text} onChange={(event) => type(event.currentTarget.value)} error={why ?? fault} inputMode="decimal" disabled={isDisabled} w={why === null && fault === undefined ? width : undefined}
        rightSection={<span aria-hidden="true" className="unit">{rule.unit}</span>} rightSectionWidth={rule.unit.length * 8 + 14} classNames={{ input: 'num' }}
      />
      {ticks === undefined || isDisabled ? null : (
        <Group gap={4}>
          {ticks.map((tick) => (
            <Button key={tick} size="compact-xs" variant={value === tick ? 'light' : 'default'} aria-label={`${label}: ${tick} ${rule.unit}`} onClick={() => type(plain(tick))}>
              {tick}
            </Button>
          ))}
        </Group>
      )}
    </Stack>
  );
});
