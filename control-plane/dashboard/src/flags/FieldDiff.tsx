// What changes, field by field: the old value struck out, the new one beside it; of long lists only what differs.
import { Text } from '@mantine/core';
import { type FieldChange, listChange, pathInWords } from '../model/diff.ts';
import { short, type Json } from '../model/json.ts';
import { conditionInWords } from '../model/operators.ts';
import { ruleInWords } from '../model/stops.ts';
import type { Condition, Rule } from '../model/types.ts';
import { count } from '../model/words.ts';

const SHOWN = 50;

export function FieldDiff({ changes, label = 'What changes' }: { changes: readonly FieldChange[]; label?: string }) {
  return (
    <div className="surface rows" role="list" aria-label={label}>
      {changes.slice(0, SHOWN).map((change) => <ChangeRow key={`${change.path.join('\n')}${change.kind}`} change={change} />)}
      {changes.length > SHOWN ? <div className="row" role="listitem"><Text size="sm" c="dimmed">{`and ${count(changes.length - SHOWN)} more fields`}</Text></div> : null}
    </div>
  );
}

function ChangeRow({ change }: { change: FieldChange }) {
  const lists = change.kind === 'altered' ? listChange(change.before, change.after) : undefined;
  return (
    <div className="diff-row" role="listitem">
      <Text size="sm" className="break"><bdi>{pathInWords(change.path)}</bdi></Text>
      <Text size="sm" component="div" className="break">
        {lists !== undefined ? <ListChange added={lists.added} removed={lists.removed} /> : change.kind === 'moved' ? (
          <>new order: <bdi>{short(change.after, 200)}</bdi></>
        ) : (
          <>
            {change.before === undefined ? <Text span size="sm" c="dimmed">not set</Text> : <del className="was"><bdi>{inWords(change.path, change.before)}</bdi></del>}
            {change.after === undefined ? null : ' → '}
            {change.after === undefined ? <Text span size="sm" c="dimmed">{' '}removed</Text> : <ins className="now" style={{ textDecoration: 'none' }}><bdi>{inWords(change.path, change.after)}</bdi></ins>}
          </>
        )}
      </Text>
    </div>
  );
}

function ListChange({ added, removed }: { added: readonly string[]; removed: readonly string[] }) {
  const few = (values: readonly string[]) => `${values.slice(0, 6).map((value) => short(value, 40)).join(', ')}${values.length > 6 ? ` and ${count(values.length - 6)} more` : ''}`;
  return (
    <>
      {added.length > 0 ? <ins className="now" style={{ textDecoration: 'none' }}>{`+${count(added.length)}: `}<bdi>{few(added)}</bdi></ins> : null}
      {added.length > 0 && removed.length > 0 ? '; ' : null}
      {removed.length > 0 ? <span className="was">{`−${count(removed.length)}: `}<bdi>{few(removed)}</bdi></span> : null}
      {added.length + removed.length === 0 ? 'another order' : null}
    </>
  );
}

/** Whole rules and conditions are told in words. */
function inWords(path: readonly string[], value: Json): string {
  if (path.length === 2 && path[0] === 'rules') return ruleInWords(value as unknown as Rule);
  if (path[path.length - 1] === 'conditions' && Array.isArray(value)) return value.map((one) => conditionInWords(one as unknown as Condition)).join(', and ') || 'no condition';
  if (Array.isArray(value) && value.length > 6) return `${count(value.length)} values: ${short(value, 80)}`;
  return short(value, 240);
}
