// What a rule serves: one variation, or several by weight, as percentages of those that the rule takes in.
import { ActionIcon, Button, Group, NativeSelect, Stack, Text } from '@mantine/core';
import { Plus, X } from 'lucide-react';
import { memo } from 'react';
import { WEIGHT } from '../model/numbers.ts';
import { percent } from '../model/words.ts';
import type { Split } from '../model/types.ts';
import { useFault } from './faults';
import { NumberField } from './NumberField';

interface SplitEditorProps { split: readonly Split[]; variations: readonly string[]; pointer: string; isDisabled: boolean; onChange: (split: Split[]) => void }

export const SplitEditor = memo(function SplitEditor({ split, variations, pointer, isDisabled, onChange }: SplitEditorProps) {
  const fault = useFault(pointer);
  const total = split.reduce((sum, part) => sum + (part.weight ?? 1), 0);
  const free = variations.find((one) => !split.some((part) => part.variation === one));
  const set = (at: number, part: Split) => onChange(split.map((old, place) => (place === at ? part : old)));
  return (
    <Stack gap={6}>
      {split.map((part, at) => (
        <Group key={part.variation} gap="xs" align="flex-start" wrap="wrap">
          <NativeSelect
            aria-label={split.length === 1 ? 'Serve' : `Variation ${at + 1}`} w={150} size="sm" disabled={isDisabled} value={part.variation}
            data={variations.filter((one) => one === part.variation || !split.some((other) => other.variation === one))} onChange={(event) => set(at, { ...part, variation: event.currentTarget.value })}
          />
          {split.length === 1 ? null : (
            <>
              <NumberField label={`Weight of ${part.variation}`} isLabelHidden value={part.weight ?? 1} rule={WEIGHT} pointer={`${pointer}/${at}/weight`} isDisabled={isDisabled} width={110} onChange={(weight) => set(at, weight === undefined ? part : { ...part, weight })} />
              <Text size="sm" c="dimmed" className="num" pt={7} w={70}>{total === 0 ? '0 %' : percent(((part.weight ?? 1) / total) * 100)}</Text>
            </>
          )}
          {split.length === 1 || isDisabled ? null : (
            <ActionIcon variant="subtle" color="gray" mt={3} aria-label={`Serve ${part.variation} no more`} onClick={() => onChange(split.filter((_, place) => place !== at))}><X size={15} /></ActionIcon>
          )}
        </Group>
      ))}
      {split.length > 1 ? <SplitBar split={split} total={total} /> : null}
      {isDisabled || free === undefined ? null : (
        <Group gap="xs">
          <Button size="compact-xs" variant="default" leftSection={<Plus size={12} />} onClick={() => onChange([...split.map((part) => ({ ...part, weight: part.weight ?? 1 })), { variation: free, weight: split.length === 0 ? 1 : (split[0]?.weight ?? 1) }])}>
            {split.length === 0 ? 'Serve a variation' : 'Split with another variation'}
          </Button>
        </Group>
      )}
      {fault === undefined ? null : <Text size="xs" c="var(--mantine-color-error)">{fault}</Text>}
    </Stack>
  );
});

const SHADES = ['var(--ff-exposed)', 'var(--ff-control)', 'var(--ff-good)', 'var(--ff-warn)'];

function SplitBar({ split, total }: { split: readonly Split[]; total: number }) {
  const words = split.map((part) => `${part.variation} ${total === 0 ? '0 %' : percent(((part.weight ?? 1) / total) * 100)}`).join(', ');
  const widths = split.map((part) => (total === 0 ? 0 : ((part.weight ?? 1) / total) * 100));
  return (
    <svg role="img" aria-label={words} width="100%" height="8" style={{ display: 'block', maxWidth: 420 }}>
      {split.map((part, at) => (
        <rect key={part.variation} x={`${widths.slice(0, at).reduce((sum, width) => sum + width, 0)}%`} width={`${widths[at] ?? 0}%`} height="8" fill={SHADES[at % SHADES.length]} />
      ))}
    </svg>
  );
}
