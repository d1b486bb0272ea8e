// A rule: one line in words, which opens into its conditions, its share and what it serves.
import { ActionIcon, Button, Group, Stack, Text, TextInput, Tooltip } from '@mantine/core';
import { ArrowDown, ArrowUp, Plus, Trash2 } from 'lucide-react';
import { type KeyboardEvent, memo, useCallback } from 'react';
import { Chip } from '../parts';
import { setPart } from '../model/edits.ts';
import { PERCENT } from '../model/numbers.ts';
import { ruleInWords } from '../model/stops.ts';
import type { Condition, Rule, Split } from '../model/types.ts';
import { ConditionRow } from './ConditionRow';
import { useFault } from './faults';
import { NumberField } from './NumberField';
import { SplitEditor } from './SplitEditor';

export interface RuleActions {
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

export const RuleCard = memo(function RuleCard({ id, rule, at, count, isOpen, isDisabled, variations, attributes, segments, actions, isLit }: RuleCardProps) {
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
