// Variations, and the short stops of the rail: off, schedule, what to do when stale, prerequisites, targets, holdout, layer, default.
import { ActionIcon, Button, Group, NativeSelect, SegmentedControl, Stack, Table, Text, Textarea, TextInput } from '@mantine/core';
import { Plus, X } from 'lucide-react';
import { memo } from 'react';
import { setField } from '../model/edits.ts';
import { type NumberRule, readValue } from '../model/numbers.ts';
import type { Flag, Schedule, Variation } from '../model/types.ts';
import { cohortShares } from '../model/stops.ts';
import { CohortBar } from '../pictures/CohortBar.tsx';
import { freeKey } from '../model/templates.ts';
import { type Json, type Read, readJson, same } from '../model/json.ts';
import { useText } from '../parts';
import { useFault, useReport } from './faults';
import { NumberField, ValueTags } from './inputs';
import type { EditFlag } from './RulesEditor';

interface EditorProps { flag: Flag; edit: EditFlag; isDisabled: boolean }

const BUCKET: NumberRule = { min: 0, max: 1_000_000, step: 1, unit: 'buckets' };
const CODE_DEFAULT = '';

/** A variation, or the default in the caller's code. */
function VariationChoice({ label, name, flag, edit, isDisabled }: EditorProps & { label: string; name: 'off_variation' | 'default_variation' }) {
  const fault = useFault(`/${name}`);
  const data = [...flag.variations.map((one) => ({ value: one.key, label: one.key })), { value: CODE_DEFAULT, label: 'the default in the code' }];
  return <NativeSelect label={label} size="sm" maw={260} data={data} value={flag[name] ?? CODE_DEFAULT} disabled={isDisabled} error={fault} onChange={(event) => { const value = event.currentTarget.value; edit((old) => setField(old, name, value)); }} />;
}

export const OffEditor = memo(function OffEditor({ flag, edit, isDisabled }: EditorProps) {
  return (
    <Group gap="xl" align="flex-end">
      <SegmentedControl
        aria-label="On or off" size="xs" disabled={isDisabled} value={flag.enabled === false ? 'off' : 'on'} data={[{ value: 'on', label: 'On' }, { value: 'off', label: 'Off' }]}
        onChange={(value) => edit((old) => ({ ...old, enabled: value === 'on' }))}
      />
      <VariationChoice label="When off, serve" name="off_variation" flag={flag} edit={edit} isDisabled={isDisabled} />
    </Group>
  );
});

export const DefaultEditor = memo(function DefaultEditor(props: EditorProps) {
  return <VariationChoice label="Everyone else gets" name="default_variation" {...props} />;
});

export const ScheduleEditor = memo(function ScheduleEditor({ flag, edit, isDisabled }: EditorProps) {
  const fault = useFault('/schedule');
  const set = (name: keyof Schedule, text: string) =>
    edit((old) => {
      const ms = text === '' ? null : Date.parse(`${text}Z`);
      const next: Schedule = { ...old.schedule, [name]: ms };
      return setField(old, 'schedule', next.from_ms == null && next.until_ms == null ? null : Object.fromEntries(Object.entries(next).filter(([, value]) => value !== null)));
    });
  const shown = (ms: number | null | undefined) => (ms == null ? '' : new Date(ms).toISOString().slice(0, 19));
  return (
    <Stack gap="xs">
      <Group gap="md">
        <TextInput type="datetime-local" step={1} label="On from (UTC)" size="sm" disabled={isDisabled} value={shown(flag.schedule?.from_ms)} onChange={(event) => set('from_ms', event.currentTarget.value)} />
        <TextInput type="datetime-local" step={1} label="Until (UTC)" size="sm" disabled={isDisabled} value={shown(flag.schedule?.until_ms)} onChange={(event) => set('until_ms', event.currentTarget.value)} />
      </Group>
      {fault === undefined ? null : <Text size="xs" c="var(--mantine-color-error)">{fault}</Text>}
    </Stack>
  );
});

/** What a flag does of two or three things; the first one is what it does where it says nothing. */
function RuleChoice({ label, name, ways, flag, edit, isDisabled }: EditorProps & { label: string; name: 'on_stale' | 'holdout'; ways: Record<string, string> }) {
  const [usual] = Object.keys(ways);
  const data = Object.entries(ways).map(([value, words]) => ({ value, label: words }));
  return <NativeSelect label={label} size="sm" maw={320} data={data} value={flag[name] ?? usual} disabled={isDisabled} onChange={(event) => { const value = event.currentTarget.value; edit((old) => setField(old, name, value === usual ? undefined : value)); }} />;
}

export const StaleEditor = memo(function StaleEditor(props: EditorProps) {
  return <RuleChoice label="When the snapshot’s freshness cannot be proven" name="on_stale" ways={{ keep: 'go on deciding', default: 'serve the default', off: 'be off' }} {...props} />;
});

export const HoldoutEditor = memo(function HoldoutEditor(props: EditorProps) {
  return <RuleChoice label="Units in the environment’s holdout" name="holdout" ways={{ member: 'get the default', exempt: 'go on: this flag is exempt' }} {...props} />;
});

export const LayerEditor = memo(function LayerEditor({ flag, edit, isDisabled, layers }: EditorProps & { layers: readonly string[] }) {
  const fault = useFault('/layer');
  const layer = flag.layer ?? null;
  const choices = [{ value: '', label: 'no layer' }, ...[...new Set([...layers, ...(layer === null ? [] : [layer.key])])].map((key) => ({ value: key, label: key }))];
  return (
    <Stack gap="xs">
      <Group gap="md" align="flex-start">
        <NativeSelect
          label="Layer" size="sm" w={200} data={choices} value={layer?.key ?? ''} disabled={isDisabled}
          onChange={(event) => { const key = event.currentTarget.value; edit((old) => setField(old, 'layer', key === '' ? undefined : { from: 0, to: 1_000_000, ...old.layer, key })); }}
        />
        {layer === null ? null : (
          <>
            <NumberField label="From bucket" value={layer.from} rule={BUCKET} pointer="/layer/from" isDisabled={isDisabled} width={160} onChange={(from) => edit((old) => setField(old, 'layer', { ...layer, from: from ?? 0 }))} />
            <NumberField label="To bucket" value={layer.to} rule={BUCKET} pointer="/layer/to" isDisabled={isDisabled} width={160} onChange={(to) => edit((old) => setField(old, 'layer', { ...layer, to: to ?? 0 }))} />
          </>
        )}
      </Group>
      {fault === undefined ? null : <Text size="xs" c="var(--mantine-color-error)">{fault}</Text>}
    </Stack>
  );
});

export const PrerequisitesEditor = memo(function PrerequisitesEditor({ flag, edit, isDisabled }: EditorProps) {
  const needed = flag.prerequisites ?? [];
  const set = (next: NonNullable<Flag['prerequisites']>) => edit((old) => setField(old, 'prerequisites', next));
  return (
    <Stack gap="xs">
      {needed.map((one, at) => (
        <Group key={at} gap="xs" align="flex-start">
          <TextInput aria-label="Flag" placeholder="flag" size="sm" w={200} value={one.flag} disabled={isDisabled} onChange={(event) => set(needed.map((old, place) => (place === at ? { ...old, flag: event.currentTarget.value } : old)))} />
          <Text size="sm" pt={7}>serves</Text>
          <ValueTags label={`Variations of ${one.flag === '' ? 'the flag' : one.flag}`} values={one.variations} kind="text" pointer={`/prerequisites/${at}`} limit={64} isDisabled={isDisabled} placeholder="variation" onChange={(variations) => set(needed.map((old, place) => (place === at ? { ...old, variations: variations.map(String) } : old)))} />
          {isDisabled ? null : <ActionIcon variant="subtle" color="gray" mt={3} aria-label={`Remove the prerequisite ${one.flag}`} onClick={() => set(needed.filter((_, place) => place !== at))}><X size={15} /></ActionIcon>}
        </Group>
      ))}
      {isDisabled ? null : (
        <Group gap="sm"><Button size="compact-xs" variant="default" leftSection={<Plus size={12} />} disabled={needed.length >= 16} onClick={() => set([...needed, { flag: '', variations: [] }])}>Prerequisite</Button>{needed.length >= 16 ? <Text size="sm" c="dimmed">16 are the most.</Text> : null}</Group>
      )}
    </Stack>
  );
});

export const TargetsEditor = memo(function TargetsEditor({ flag, edit, isDisabled }: EditorProps) {
  const targets = flag.targets ?? [];
  const set = (next: NonNullable<Flag['targets']>) => edit((old) => setField(old, 'targets', next));
  const free = flag.variations.filter((one) => !targets.some((target) => target.variation === one.key && target.attribute == null));
  return (
    <Stack gap="xs">
      {targets.map((target, at) => (
        <Stack gap={4} key={`${target.variation}${target.attribute ?? ''}`}>
          <Group justify="space-between">
            <Text size="sm">{target.attribute == null ? 'These units' : `Those whose ${target.attribute} is one of these`} get <b>{target.variation}</b></Text>
            {isDisabled ? null : <Button size="compact-xs" variant="subtle" color="gray" onClick={() => set(targets.filter((_, place) => place !== at))}>Remove all</Button>}
          </Group>
          <ValueTags label={`Units that get ${target.variation}`} values={target.units} kind="text" pointer={`/targets/${at}`} isDisabled={isDisabled} placeholder="user-7, or paste many, one a line" onChange={(units) => set(targets.map((old, place) => (place === at ? { ...old, units: units.map(String) } : old)))} />
        </Stack>
      ))}
      {isDisabled ? null : (
        <Group gap="xs">
          {free.map((one) => <Button key={one.key} size="compact-xs" variant="default" leftSection={<Plus size={12} />} onClick={() => set([...targets, { variation: one.key, units: [] }])}>{`Units that get ${one.key}`}</Button>)}
        </Group>
      )}
    </Stack>
  );
});

/** The cohort is the fuse's: it is shown here, and moved there. */
export const CohortView = memo(function CohortView({ flag }: { flag: Flag }) {
  const shares = cohortShares(flag.cohort?.slices);
  if (flag.cohort == null || shares.exposed + shares.control === 0) return <Text size="sm" c="dimmed">{flag.cohort == null ? 'Arm a fuse, and it takes part of the units as exposed and part as control.' : 'Nobody is in it now.'}</Text>;
  return <CohortBar slices={flag.cohort.slices} />;
});

/** The variations and their values; a value is typed as what the flag serves, and read as that. */
export function VariationsEditor({ flag, edit, isDisabled }: EditorProps) {
  const used = new Set([flag.off_variation, flag.default_variation, ...(flag.targets ?? []).map((one) => one.variation), ...(flag.rules ?? []).flatMap((rule) => rule.split.map((part) => part.variation)), ...(flag.cohort?.slices ?? []).map((slice) => slice.variation)]);
  const set = (variations: Variation[]) => edit((old) => setField(old, 'variations', variations));
  return (
    <Stack gap="xs">
      <Table withRowBorders={false} verticalSpacing={4} layout="fixed" aria-label="Variations">
        <Table.Thead><Table.Tr><Table.Th w="32%">Variation</Table.Th><Table.Th>{`Value (${flag.value_type})`}</Table.Th><Table.Th w={44}><Text span size="xs" c="dimmed">{' '}</Text></Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>
          {flag.variations.map((variation, at) => (
            <Table.Tr key={at} style={{ verticalAlign: 'top' }}>
              <Table.Td>{used.has(variation.key) || isDisabled ? <bdi className="break">{variation.key}</bdi> : <TextInput aria-label={`Name of variation ${at + 1}`} size="sm" value={variation.key} onChange={(event) => set(flag.variations.map((one, place) => (place === at ? { ...one, key: event.currentTarget.value } : one)))} />}</Table.Td>
              <Table.Td><ValueField type={flag.value_type} variation={variation} at={at} isDisabled={isDisabled} onChange={(value) => set(flag.variations.map((one, place) => (place === at ? { ...one, value } : one)))} /></Table.Td>
              <Table.Td>{used.has(variation.key) || isDisabled ? null : <ActionIcon variant="subtle" color="gray" aria-label={`Remove ${variation.key}`} onClick={() => set(flag.variations.filter((_, place) => place !== at))}><X size={15} /></ActionIcon>}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {isDisabled || flag.variations.length >= 64 ? null : (
        <Group><Button size="compact-xs" variant="default" leftSection={<Plus size={12} />} onClick={() => set([...flag.variations, { key: freeKey('variation', flag.variations.map((one) => one.key)), value: flag.variations[0]?.value ?? null }])}>Variation</Button></Group>
      )}
    </Stack>
  );
}

const textOf = (type: string, value: Json) => (type === 'string' && typeof value === 'string' ? value : JSON.stringify(value, null, type === 'object' ? 2 : undefined));

function readAs(type: string, text: string): Read<Json> {
  if (type === 'string') return { ok: true, value: text };
  if (type === 'integer' || type === 'float') {
    const read = readValue(text);
    return read.ok && type === 'integer' && !Number.isInteger(read.value) ? { ok: false, why: 'This has to be a whole number.' } : read;
  }
  const read = readJson(text, 'JSON');
  return type !== 'boolean' || (read.ok && typeof read.value === 'boolean') ? read : { ok: false, why: 'Write true or false.' };
}

function ValueField({ type, variation, at, isDisabled, onChange }: { type: string; variation: Variation; at: number; isDisabled: boolean; onChange: (value: Json) => void }) {
  const { text, why, type: change } = useText<Json>({ value: variation.value, onChange, print: (one) => textOf(type, one), read: (typed) => readAs(type, typed), isSame: same });
  const fault = useFault(`/variations/${at}`);
  useReport(why);
  const shared = { 'aria-label': `Value of ${variation.key}`, value: text, disabled: isDisabled, error: why ?? fault };
  if (type !== 'object' && !text.includes('\n')) return <TextInput size="sm" {...shared} classNames={{ input: 'mono' }} onChange={(event) => change(event.currentTarget.value)} />;
  return <Textarea size="sm" rows={Math.min(12, text.split('\n').length)} {...shared} classNames={{ input: 'mono' }} onChange={(event) => change(event.currentTarget.value)} />;
}
