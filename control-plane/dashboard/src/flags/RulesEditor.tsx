// The rules in the order in which they are asked. Each is one line until it is opened.
import { Button, Group, Text, VisuallyHidden } from '@mantine/core';
import { Plus } from 'lucide-react';
import { useCallback, useMemo, useState } from 'react';
import { moved, setField, setRule } from '../model/edits.ts';
import { freeKey } from '../model/templates.ts';
import type { Flag } from '../model/types.ts';
import { RuleCard, type RuleActions } from './RuleCard';

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
