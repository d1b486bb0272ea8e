// The variations and their values; a value is typed as what the flag serves, and read as that.
import { ActionIcon, Button, Group, Stack, Table, Text, TextInput, Textarea } from '@mantine/core';
import { Plus, X } from 'lucide-react';
import { setField } from '../model/edits.ts';
import { freeKey } from '../model/templates.ts';
import { readValue } from '../model/numbers.ts';
import type { Flag, Variation } from '../model/types.ts';
import { same, type Json, type Read, readJson } from '../model/json.ts';
import { useText } from '../parts';
import { useFault, useReport } from './faults';
import type { EditFlag } from './RulesEditor';

interface VariationsEditorProps { flag: Flag; edit: EditFlag; isDisabled: boolean }

export function VariationsEditor({ flag, edit, isDisabled }: VariationsEditorProps) {
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
