// What is typed into a flag and a policy: lists of values, and numbers.
import { ActionIcon, Button, Group, Modal, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { Plus, X } from 'lucide-react';
import { type ClipboardEvent, type KeyboardEvent, memo, type ReactNode, useState } from 'react';
import { type NumberRule, plain, readNumber, readValue } from '../model/numbers.ts';
import { paste, VALUES_MAX } from '../model/paste.ts';
import { count } from '../model/words.ts';
import { type Json, short, textOf } from '../model/json.ts';
import { useText } from '../parts';
import { useFault, useReport } from './faults';

interface ValueTagsProps {
  label: string;
  values: readonly Json[];
  /** Values of other types are shown as JSON; new ones are texts, or numbers. */
  kind: 'text' | 'number';
  pointer: string;
  onChange: (values: Json[]) => void;
  isDisabled?: boolean;
  limit?: number;
  placeholder?: string | undefined;
  suggestions?: readonly string[];
}

const SHOWN = 24;

/** A list of values as tags: typed one by one, or pasted, one a line, as many as there is room for. Long lists are shown in part. */
export function ValueTags({ label, values, kind, pointer, onChange, isDisabled = false, limit = VALUES_MAX, placeholder, suggestions = [] }: ValueTagsProps) {
  const [text, setText] = useState('');
  const [why, setWhy] = useState<string | null>(null);
  const [isListOpen, setListOpen] = useState(false);
  const fault = useFault(pointer);

  /** What was there stays of its type. */
  const take = (lines: readonly string[]) => {
    const known = new Map(values.map((value) => [textOf(value), value]));
    onChange(lines.map((line) => known.get(line) ?? (kind === 'number' ? Number(line) : line)));
  };
  const takeLines = (lines: string) => {
    const known = new Set(values.map(textOf));
    const pasted = paste(lines, [...known], limit);
    const wrong = pasted.refused ?? (kind === 'number' ? pasted.values.filter((line) => !known.has(line)).map((line) => readValue(line)).find((read) => !read.ok) : undefined);
    if (wrong !== undefined) {
      setWhy(typeof wrong === 'string' ? wrong : wrong.ok ? null : wrong.why);
      return false;
    }
    setWhy(pasted.repeated > 0 ? `${count(pasted.added)} added, ${count(pasted.repeated)} were there already.` : null);
    if (pasted.added > 0) take(pasted.values);
    return true;
  };
  const add = () => {
    if (text.trim() !== '' && takeLines(text)) setText('');
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.metaKey && !event.ctrlKey) {
      event.preventDefault();
      add();
    }
    if (event.key === 'Backspace' && text === '' && values.length > 0) onChange(values.slice(0, -1));
  };
  const onPaste = (event: ClipboardEvent) => {
    const lines = event.clipboardData.getData('text');
    if (!/[\r\n]/.test(lines)) return;
    event.preventDefault();
    takeLines(lines);
  };
  const datalist = suggestions.length === 0 ? undefined : `${pointer}-suggestions`;

  return (
    <Stack gap={4} flex={1} miw={160}>
      <div className="tags" role="group" aria-label={label}>
        {values.slice(0, SHOWN).map((value, at) => (
          <span className="tag" key={`${textOf(value)}${at}`}>
            <bdi className="tag-text" title={short(value, 400)}>{short(value, 48)}</bdi>
            {isDisabled ? null : (
              <ActionIcon size="xs" variant="subtle" color="gray" aria-label={`Remove ${short(value, 48)}`} onClick={() => onChange(values.filter((_, place) => place !== at))}>
                <X size={11} />
              </ActionIcon>
            )}
          </span>
        ))}
        {values.length > SHOWN ? <Button size="compact-xs" variant="default" onClick={() => setListOpen(true)}>{`and ${count(values.length - SHOWN)} more`}</Button> : null}
        {isDisabled ? null : (
          <TextInput
            variant="unstyled" className="tag-input" aria-label={`Add to ${label}`} placeholder={placeholder ?? (values.length === 0 ? 'Type a value, or paste many, one a line' : 'Add')} value={text} list={datalist}
            onChange={(event) => setText(event.currentTarget.value)} onKeyDown={onKeyDown} onPaste={onPaste} onBlur={add}
            rightSection={text === '' ? null : <ActionIcon size="sm" variant="subtle" aria-label="Add this value" onClick={add}><Plus size={14} /></ActionIcon>}
          />
        )}
        {datalist === undefined ? null : <datalist id={datalist}>{suggestions.map((one) => <option key={one} value={one} />)}</datalist>}
      </div>
      {why === null && fault === undefined ? null : <Text size="xs" c={why !== null && / added, /.test(why) ? 'dimmed' : 'var(--mantine-color-error)'} role="status">{why ?? fault}</Text>}
      {isListOpen ? <WholeList label={label} values={values} isDisabled={isDisabled} limit={limit} onClose={() => setListOpen(false)} onTake={take} kind={kind} /> : null}
    </Stack>
  );
}

interface WholeListProps { label: string; values: readonly Json[]; isDisabled: boolean; limit: number; kind: 'text' | 'number'; onTake: (lines: string[]) => void; onClose: () => void }

/** All of a long list as lines of text: the browser draws ten thousand of them at once. */
function WholeList({ label, values, isDisabled, limit, kind, onTake, onClose }: WholeListProps) {
  const [text, setText] = useState(() => values.map(textOf).join('\n'));
  const read = paste(text, [], limit);
  const wrong = read.refused ?? (kind === 'number' ? read.values.map((line) => ({ line, read: readValue(line) })).find((one) => !one.read.ok)?.line : undefined);
  const problem = wrong === undefined || read.refused !== undefined ? wrong : `“${short(wrong, 40)}” is no number.`;
  return (
    <Modal opened onClose={onClose} title={`${label}, one a line`} size="lg">
      <Stack gap="sm">
        <Textarea aria-label={`${label}, one a line`} value={text} onChange={(event) => setText(event.currentTarget.value)} rows={16} readOnly={isDisabled} error={problem} classNames={{ input: 'mono' }} />
        <Group justify="space-between">
          <Text size="sm" c="dimmed">{`${count(read.values.length)} of at most ${count(limit)}`}</Text>
          <Group gap="xs">
            <Button variant="default" onClick={onClose}>{isDisabled ? 'Close' : 'Cancel'}</Button>
            {isDisabled ? null : <Button disabled={problem !== undefined} onClick={() => { onTake(read.values); onClose(); }}>Take over</Button>}
          </Group>
        </Group>
      </Stack>
    </Modal>
  );
}

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

/** A number with a unit, typed as text and read strictly; ticks set common values with one press. */
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
