// The rules in the order in which they are asked. Each is one line until it is opened.
import { ActionIcon, Autocomplete, Button, Checkbox, Group, NativeSelect, Stack, Text, TextInput, Tooltip, VisuallyHidden } from '@mantine/core';
import { ArrowDown, ArrowUp, Plus, Trash2, X } from 'lucide-react';
import { type KeyboardEvent, memo, useCallback, useMemo, useState } from 'react';
import { moved, setField, setPart, setRule } from '../model/edits.ts';
import { freeKey } from '../model/templates.ts';
import type { Condition, Flag, Rule, Split } from '../model/types.ts';
import { Chip } from '../parts';
import { PERCENT, WEIGHT } from '../model/numbers.ts';
import { ruleInWords } from '../model/stops.ts';
import { operator, OPERATORS } from '../model/operators.ts';
import { percent } from '../model/words.ts';
import { useFault } from './faults';
import { NumberField, ValueTags } from './inputs';

export type EditFlag = (change: (flag: Flag) => Flag) => void;

interface RulesEditorProps { flag: Flag; edit: EditFlag; isDisabled: boolean; segments: readonly string[]; litRule: string | undefined }

const RULES_MAX = 200;
const SHOWN = 100;

export function RulesEditor({ flag, edit, isDisabled, segments, litRule }: RulesEditorProps) {
  const rules = useMemo(() => flag.rules ?? [], [flag.rules]);
  // Names that stay with a rule while it is renamed and moved, so that what has the focus keeps it.
  const [held, setHeld] = useState<readonly number[]>([]);
  const count = rules.length;
  const ids = useMemo(() => (held.length === count ? held : Array.from({ length: count }, (_, at) => at)), [held, count]);
  const [openId, setOpenId] = useState<number | null>(null);
  const [said, setSaid] = useState('');
  const [isWhole, setWhole] = useState(false);
  const variations = useMemo(() => flag.variations.map((one) => one.key), [flag.variations]);
  // As a text first: cards are drawn anew only when a name comes or goes, and not with each keystroke in one of them.
  const mentioned = [...new Set(['targetingKey', ...rules.flatMap((rule) => (rule.conditions ?? []).flatMap((one) => (one.attribute === undefined || one.attribute === '' ? [] : [one.attribute])))])].join('\n');
  const attributes = useMemo(() => mentioned.split('\n'), [mentioned]);
  const toggle = useCallback((id: number) => setOpenId((open) => (open === id ? null : id)), []);
  const actions = useMemo<RuleActions>(
    () => ({
      change: (at, change) => edit((old) => setRule(old, at, change)),
      move: (from, to) => {
        if (to < 0 || to >= ids.length) return;
        setHeld(moved(ids, from, to));
        edit((old) => setField(old, 'rules', moved(old.rules ?? [], from, to)));
        setSaid(`Now at place ${to + 1}.`);
      },
      remove: (at) => {
        setHeld(ids.filter((_, place) => place !== at));
        edit((old) => setField(old, 'rules', (old.rules ?? []).filter((_, place) => place !== at)));
      },
      toggle,
    }),
    [edit, ids, toggle],
  );
  const add = () => {
    const key = freeKey('rule', rules.map((rule) => rule.key));
    edit((old) => setField(old, 'rules', [...(old.rules ?? []), { key, conditions: [{ attribute: 'targetingKey', op: 'in', values: [] }], split: [{ variation: old.variations[0]?.key ?? '' }] }]));
    const id = Math.max(-1, ...ids) + 1;
    setHeld([...ids, id]);
    setOpenId(id);
  };
  const shown = isWhole ? rules : rules.slice(0, SHOWN);
  return (
    <div>
      <ol style={{ listStyle: 'none', margin: 0, padding: 0 }}>
        {shown.map((rule, at) => (
          <RuleCard
            key={ids[at]} id={ids[at] ?? at} rule={rule} at={at} count={rules.length} isOpen={ids[at] === openId} isDisabled={isDisabled} variations={variations} attributes={attributes} segments={segments} actions={actions}
            isLit={rule.key === litRule}
          />
        ))}
      </ol>
      {rules.length > shown.length ? <Button mt="xs" variant="default" onClick={() => setWhole(true)}>{`Show all ${rules.length} rules`}</Button> : null}
      {isDisabled ? null : (
        <Group mt="xs" gap="sm">
          <Button variant="default" leftSection={<Plus size={14} />} disabled={rules.length >= RULES_MAX} onClick={add}>Rule</Button>
          {rules.length >= RULES_MAX ? <Text size="sm" c="dimmed">{`${RULES_MAX} rules are the most.`}</Text> : null}
        </Group>
      )}
      <VisuallyHidden role="status">{said}</VisuallyHidden>
    </div>
  );
}

interface RuleActions {
  change: (at: number, change: (rule: Rule) => Rule) => void;
  move: (from: number, to: number) => void;
  remove: (at: number) => void;
  toggle: (id: number) => void;
}

interface RuleCardProps {
  /** Stays with the rule while it is renamed and moved. */
  id: number;
  rule: Rule;
  at: number;
  count: number;
  isOpen: boolean;
  isDisabled: boolean;
  variations: readonly string[];
  attributes: readonly string[];
  segments: readonly string[];
  actions: RuleActions;
  /** Whether the playground's question stopped here. */
  isLit: boolean;
}

/** A rule: one line in words, which opens into its conditions, its share and what it serves. */
const RuleCard = memo(function RuleCard({ id, rule, at, count, isOpen, isDisabled, variations, attributes, segments, actions, isLit }: RuleCardProps) {
  const pointer = `/rules/${at}`;
  const fault = useFault(pointer);
  const onKeyDown = (event: KeyboardEvent) => {
    if (!event.altKey || isDisabled || (event.key !== 'ArrowUp' && event.key !== 'ArrowDown')) return;
    event.preventDefault();
    actions.move(at, event.key === 'ArrowUp' ? at - 1 : at + 1);
  };
  return (
    <li className="rule" data-rule={rule.key}>
      <div className="rule-head">
        <Text size="sm" c="dimmed" className="num" aria-hidden="true">{at + 1}</Text>
        <button type="button" className="rule-open" aria-expanded={isOpen} aria-keyshortcuts="Alt+ArrowUp Alt+ArrowDown" onClick={() => actions.toggle(id)} onKeyDown={onKeyDown}>
          <bdi><b>{rule.key}</b></bdi> <Text span size="sm" c="dimmed"><bdi>{ruleInWords(rule)}</bdi></Text>
        </button>
        {isLit ? <Chip tone="warn">decided here</Chip> : null}
        {fault === undefined ? null : <Chip tone="bad">does not fit</Chip>}
        {isDisabled ? null : <RuleButtons rule={rule} at={at} count={count} actions={actions} />}
      </div>
      {isOpen ? <RuleBody rule={rule} at={at} pointer={pointer} isDisabled={isDisabled} variations={variations} attributes={attributes} segments={segments} actions={actions} /> : null}
    </li>
  );
});

function RuleButtons({ rule, at, count, actions }: { rule: Rule; at: number; count: number; actions: RuleActions }) {
  return (
    <Group gap={0} wrap="nowrap">
      <Tooltip label="Earlier (Alt+↑)"><ActionIcon variant="subtle" color="gray" disabled={at === 0} aria-label={`Move ${rule.key} up`} onClick={() => actions.move(at, at - 1)}><ArrowUp size={15} /></ActionIcon></Tooltip>
      <Tooltip label="Later (Alt+↓)"><ActionIcon variant="subtle" color="gray" disabled={at === count - 1} aria-label={`Move ${rule.key} down`} onClick={() => actions.move(at, at + 1)}><ArrowDown size={15} /></ActionIcon></Tooltip>
      <Tooltip label="Remove this rule"><ActionIcon variant="subtle" color="gray" aria-label={`Remove ${rule.key}`} onClick={() => actions.remove(at)}><Trash2 size={15} /></ActionIcon></Tooltip>
    </Group>
  );
}

const TICKS = [1, 5, 10, 25, 50, 100];

type RuleBodyProps = Pick<RuleCardProps, 'rule' | 'at' | 'isDisabled' | 'variations' | 'attributes' | 'segments' | 'actions'> & { pointer: string };

function RuleBody({ rule, at, pointer, isDisabled, variations, attributes, segments, actions }: RuleBodyProps) {
  const conditions = rule.conditions ?? [];
  const keyFault = useFault(`${pointer}/key`);
  const change = useCallback((next: (old: Rule) => Rule) => actions.change(at, next), [actions, at]);
  const setCondition = useCallback((place: number, next: Condition) => change((old) => ({ ...old, conditions: (old.conditions ?? []).map((one, other) => (other === place ? next : one)) })), [change]);
  const dropCondition = useCallback((place: number) => change((old) => ({ ...old, conditions: (old.conditions ?? []).filter((_, other) => other !== place) })), [change]);
  const setShare = useCallback((percentage: number | undefined) => change((old) => setPart(old, 'percentage', percentage)), [change]);
  const setSplit = useCallback((split: Split[]) => change((old) => ({ ...old, split })), [change]);
  return (
    <Stack gap="sm" className="rule-body">
      <TextInput label="Name" size="sm" maw={260} value={rule.key} disabled={isDisabled} error={keyFault} onChange={(event) => { const key = event.currentTarget.value; change((old) => ({ ...old, key })); }} />
      <Stack gap={6} role="group" aria-label="Conditions, all of them">
        <Text size="xs" c="dimmed">{conditions.length === 0 ? 'No condition: takes in everyone who comes here.' : 'All of these have to hold:'}</Text>
        {conditions.map((condition, place) => (
          <ConditionRow
            key={place} condition={condition} at={place} pointer={`${pointer}/conditions/${place}`} attributes={attributes} segments={segments} isDisabled={isDisabled}
            onChange={setCondition} onRemove={dropCondition}
          />
        ))}
        {isDisabled ? null : (
          <Group><Button size="compact-xs" variant="default" leftSection={<Plus size={12} />} onClick={() => change((old) => ({ ...old, conditions: [...(old.conditions ?? []), { attribute: '', op: 'in', values: [] }] }))}>Condition</Button></Group>
        )}
      </Stack>
      <Group align="flex-start" gap="xl">
        <NumberField
          label="Share of them" value={rule.percentage ?? undefined} rule={PERCENT} pointer={`${pointer}/percentage`} isOptional isDisabled={isDisabled} ticks={TICKS} description="Empty: all of them. The others go on to the next stop."
          onChange={setShare}
        />
        <Stack gap={4} miw={220}>
          <Text size="sm" fw={500}>Serve</Text>
          <SplitEditor split={rule.split} variations={variations} pointer={`${pointer}/split`} isDisabled={isDisabled} onChange={setSplit} />
        </Stack>
      </Group>
    </Stack>
  );
}

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

/** One condition: attribute, operator, values. What an operator does not read is not offered. */
const ConditionRow = memo(function ConditionRow({ condition, at, pointer, attributes, segments, isDisabled, onChange, onRemove }: ConditionRowProps) {
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
            onChange={(values) => set({ ...condition, values })} {...(info.most === undefined ? {} : { limit: info.most })} placeholder={PLACEHOLDERS[info.kind]}
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

const PLACEHOLDERS: Record<string, string> = { time: '2026-11-30T14:00:00Z', version: '2.1.0', network: '10.0.0.0/8', segment: 'segment' };

interface SplitEditorProps { split: readonly Split[]; variations: readonly string[]; pointer: string; isDisabled: boolean; onChange: (split: Split[]) => void }

/** What a rule serves: one variation, or several by weight, as percentages of those that the rule takes in. */
const SplitEditor = memo(function SplitEditor({ split, variations, pointer, isDisabled, onChange }: SplitEditorProps) {
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
