// Who would get something else: number, share, and examples of the askers that the server sampled.
import { Button, Group, Stack, Text } from '@mantine/core';
import type { Schemas } from '../api';
import { isObject, short, type Json, type JsonObject } from '../model/json.ts';
import { count, counted, percent } from '../model/words.ts';

interface WhoFlipsProps {
  diff: readonly Schemas['DecisionDiff'][];
  /** Puts an asker into the playground. */
  onTry?: (context: JsonObject) => void;
}

export function WhoFlips({ diff, onTry }: WhoFlipsProps) {
  const flags = diff.flatMap((one) => one.flags.map((flag) => ({ environment: one.environment, flag })));
  const reached = diff.reduce((sum, one) => sum + one.flags_reached, 0);
  if (flags.every(({ flag }) => flag.changed === 0 && (flag.served ?? []).length === 0)) {
    return <Text size="sm">None of the sampled askers gets another answer{reached > 1 ? `, of ${counted(reached, 'flag')}` : ''}.</Text>;
  }
  return (
    <Stack gap="sm">
      {flags.map(({ environment, flag }) => (
        <div key={`${environment}/${flag.flag}`}>
          <Text size="sm" className="break">
            <b><bdi>{flag.flag}</bdi></b>{diff.length > 1 ? ` in ${environment}` : ''}: <b className="num">{`${count(flag.changed)} of ${counted(flag.sampled, 'asker')}, ${percent(flag.changed_pct)}`}</b>
            {flag.kind === 'dependent' ? ' (it depends on what changes)' : ''}
          </Text>
          {(flag.served ?? []).length === 0 ? null : <Text size="sm" c="dimmed">{`Serves ${(flag.served ?? []).map((one) => `${one.variation ?? 'the default in the code'} to ${percent(one.pct)}`).join(', ')}.`}</Text>}
          {flag.moves.slice(0, 3).map((move, at) => <Move key={at} move={move} {...(onTry === undefined ? {} : { onTry })} />)}
        </div>
      ))}
      <Text size="xs" c="dimmed">A sample made of the flags’ own conditions, not your traffic.</Text>
    </Stack>
  );
}

function Move({ move, onTry }: { move: Schemas['DecisionMove']; onTry?: (context: JsonObject) => void }) {
  const example = move.example as Json;
  return (
    <Group gap="xs" wrap="nowrap" align="flex-start">
      <Text size="sm" className="num" miw={56} ta="right">{count(move.count)}</Text>
      <div style={{ flex: 1, minWidth: 0 }}>
        <Text size="sm"><bdi>{move.from ?? 'the default in the code'}</bdi> → <b><bdi>{move.to ?? 'the default in the code'}</bdi></b></Text>
        <Text size="xs" c="dimmed" className="break mono"><bdi>{contextInWords(example)}</bdi></Text>
      </div>
      {onTry !== undefined && isObject(example) ? <Button size="compact-xs" variant="default" onClick={() => onTry(example)}>Explain</Button> : null}
    </Group>
  );
}

/** `country DE · age 19`: the targeting key last, since it is made up. */
function contextInWords(context: Json): string {
  if (!isObject(context)) return short(context, 200);
  const names = Object.keys(context).sort((a, b) => Number(a === 'targetingKey') - Number(b === 'targetingKey'));
  return short(names.map((name) => `${name} ${typeof context[name] === 'string' ? context[name] : JSON.stringify(context[name])}`).join(' · '), 240);
}
