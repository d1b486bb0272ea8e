// Ask as somebody: a form made of what the conditions mention, the answer of the published flag, and each stop with its reason.
import { Alert, Autocomplete, Button, Group, Menu, NativeSelect, Stack, Text, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { memo, useEffect, useMemo, useRef, useState } from 'react';
import { useLocalStorage } from '@mantine/hooks';
import { asProblem, basePath, type Place, type Schemas } from '../api';
import { Chip, CopyIcon, ProblemNote } from '../parts';
import { type AttributeField, attributesOf, contextOf, curlOf } from '../model/context.ts';
import { endOf } from '../model/stops.ts';
import { type Json, type JsonObject, readJson, short } from '../model/json.ts';
import type { Flag } from '../model/types.ts';
import { explain } from './reads';
import type { Lit } from './Rail';

interface PlaygroundProps {
  place: Place;
  flag: Flag;
  /** The edit, where the server can evaluate it. */
  draft: JsonObject | null;
  /** A context to begin with: an example of who flips, or whom the address names. */
  given: JsonObject | null;
  onLit: (lit: Lit | null) => void;
}

export const Playground = memo(function Playground({ place, flag, draft, given, onLit }: PlaygroundProps) {
  const mentioned = useMemo(() => attributesOf(flag), [flag]);
  const [typed, setTyped] = useState<ReadonlyMap<string, string>>(() => new Map(Object.entries(given ?? {}).map(([name, value]) => [name, textOf(value)])));
  const fields = useMemo(() => {
    const known = new Set(mentioned.map((one) => one.name));
    const extra = [...typed.keys()].filter((name) => !known.has(name)).map<AttributeField>((name) => ({ name, kind: kindOf(given?.[name]), examples: [] }));
    return [...mentioned, ...extra];
  }, [mentioned, typed, given]);
  const read = useMemo(() => contextOf(fields, typed), [fields, typed]);
  const asked = useMutation({
    mutationFn: (context: JsonObject) => explain(place, flag.key, context, draft),
    onSuccess: (answer) => onLit(endOf(answer.steps, answer.outcome.rule, answer.outcome.arm)),
  });
  const { mutate } = asked;
  const set = (name: string, text: string) => setTyped((old) => new Map(old).set(name, text));
  const ask = () => {
    if (read.ok) asked.mutate(read.context);
  };
  // Whoever came with a question wants its answer.
  const isAsked = useRef(given === null);
  useEffect(() => {
    if (isAsked.current || !read.ok) return;
    isAsked.current = true;
    mutate(read.context);
  }, [read, mutate]);
  const body = { ...place, flag: flag.key, context: read.ok ? read.context : {} } as unknown as Json;
  return (
    <Stack gap="sm" className="surface" p="md" component="section" aria-label="Playground">
      <Group justify="space-between" wrap="nowrap">
        <Title order={2}>Playground</Title>
        <CopyIcon value={curlOf(`${window.location.origin}${basePath()}v1/explain`, body)} label="Copy as curl" />
      </Group>
      <form onSubmit={(event) => { event.preventDefault(); ask(); }}>
        <Stack gap="xs">
          {fields.map((one) => <ContextField key={one.name} field={one} value={typed.get(one.name) ?? ''} error={!read.ok && read.name === one.name ? read.why : undefined} onChange={(text) => set(one.name, text)} />)}
          <Group justify="space-between">
            <SavedPeople place={place} typed={typed} onChoose={setTyped} />
            <Button type="submit" disabled={!read.ok} loading={asked.isPending}>Explain</Button>
          </Group>
        </Stack>
      </form>
      {asked.error === null ? null : <ProblemNote problem={asProblem(asked.error)} retry={ask} />}
      {asked.data === undefined ? null : <Answer answer={asked.data} />}
    </Stack>
  );
});

const textOf = (value: Json | undefined) => (value === undefined ? '' : typeof value === 'string' ? value : Array.isArray(value) ? value.map(String).join(', ') : JSON.stringify(value));

function kindOf(value: Json | undefined): AttributeField['kind'] {
  if (typeof value === 'number') return 'number';
  if (typeof value === 'boolean') return 'boolean';
  return Array.isArray(value) ? 'list' : 'text';
}

function ContextField({ field, value, error, onChange }: { field: AttributeField; value: string; error: string | undefined; onChange: (text: string) => void }) {
  if (field.kind === 'boolean') {
    return <NativeSelect size="sm" label={<bdi>{field.name}</bdi>} value={value} data={[{ value: '', label: 'missing' }, { value: 'true', label: 'true' }, { value: 'false', label: 'false' }]} onChange={(event) => onChange(event.currentTarget.value)} />;
  }
  return (
    <Autocomplete
      size="sm" label={<bdi>{field.name}</bdi>} value={value} error={error} data={[...new Set(field.examples)].filter((one) => one !== '')} limit={20} onChange={onChange}
      placeholder={field.name === 'targetingKey' ? 'user-7' : field.kind === 'list' ? 'a, b' : 'missing'}
    />
  );
}

const MARKS = { passed: '✓', stopped: '✗', plain: '·' } as const;

type Told = Record<string, Json | undefined>;

function Answer({ answer }: { answer: Schemas['Explanation'] }) {
  const resolution = answer.resolution as Told;
  const draft = answer.draft_outcome as Told | undefined;
  return (
    <Stack gap="xs" role="status" aria-live="polite">
      {resolution.errorCode !== undefined ? <Alert color="yellow" py="xs">{short(resolution.errorCode)}: {short(resolution.errorDetails ?? 'no answer')}</Alert> : null}
      <Way title={draft === undefined ? 'Published' : 'Published, now'} outcome={answer.outcome as Told} value={resolution.value} steps={answer.steps} />
      {draft === undefined ? null : <Way title="Your edit, if published" outcome={draft} value={undefined} steps={answer.draft_steps ?? []} />}
      <Text size="xs" c="dimmed">What version {answer.version} would answer now. What somebody was assigned before is in the events.</Text>
    </Stack>
  );
}

function Way({ title, outcome, value, steps }: { title: string; outcome: Told; value: Json | undefined; steps: Schemas['Explanation']['steps'] }) {
  const { variation, reason, rule, arm, error } = outcome;
  return (
    <div>
      <Text size="xs" c="dimmed">{title}</Text>
      <Group gap="xs">
        {error !== undefined && error !== null ? <Text size="sm">fails: <bdi>{short(error)}</bdi></Text> : <Text size="sm">gets <b><bdi>{variation === undefined || variation === null ? 'the default in the code' : short(variation)}</bdi></b>{value === undefined ? '' : <> = <bdi className="mono">{short(value, 80)}</bdi></>}</Text>}
        {typeof rule === 'string' ? <Chip tone="info">{`rule ${short(rule, 30)}`}</Chip> : null}
        {typeof arm === 'string' ? <Chip tone="info">{arm}</Chip> : null}
        {typeof reason === 'string' ? <Chip tone="quiet">{reason}</Chip> : null}
      </Group>
      <ol className="bare-list" aria-label={`Why: ${title}`}>
        {steps.map((step, at) => {
          const mark = step.passed === true ? 'passed' : step.passed === false ? 'stopped' : 'plain';
          return (
            <li key={at} style={{ display: 'flex', gap: 8, padding: '2px 0' }}>
              <Text span size="sm" c={mark === 'passed' ? 'var(--ff-good)' : 'dimmed'} role="img" aria-label={mark === 'passed' ? 'holds' : mark === 'stopped' ? 'does not hold' : 'tells'}>{MARKS[mark]}</Text>
              <Text span size="sm" className="break" c={mark === 'stopped' ? 'dimmed' : undefined}><bdi>{step.text}</bdi></Text>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

type Typed = ReadonlyMap<string, string>;
type Person = [string, string][];

const MAX = 20;

/** Contexts that are asked again and again, kept in this browser. */
function SavedPeople({ place, typed, onChoose }: { place: Place; typed: Typed; onChoose: (typed: Typed) => void }) {
  const [people, save] = useLocalStorage<Person[]>({ key: `flagfuse-people/${place.project}`, defaultValue: [], getInitialValueInEffect: false, deserialize: read });
  const now = [...typed].filter(([, text]) => text !== '');
  return (
    <Menu shadow="md" width={260}>
      <Menu.Target><Button variant="default">People</Button></Menu.Target>
      <Menu.Dropdown>
        {people.map((person, at) => <Menu.Item key={at} onClick={() => onChoose(new Map(person))}><bdi>{title(person)}</bdi></Menu.Item>)}
        {people.length > 0 ? <Menu.Divider /> : null}
        <Menu.Item disabled={now.length === 0 || people.length >= MAX} onClick={() => save([...people.filter((one) => title(one) !== title(now)), now])}>Keep this one</Menu.Item>
        {people.length > 0 ? <Menu.Item color="red" onClick={() => save([])}>Forget all</Menu.Item> : null}
      </Menu.Dropdown>
    </Menu>
  );
}

function title(person: Person): string {
  const key = person.find(([attribute]) => attribute === 'targetingKey')?.[1];
  return short([key, ...person.filter(([attribute]) => attribute !== 'targetingKey').slice(0, 2).map(([attribute, text]) => `${attribute} ${text}`)].filter(Boolean).join(' · '), 60);
}

function read(text: string | undefined): Person[] {
  const kept = readJson(text ?? '[]', 'JSON');
  if (!kept.ok || !Array.isArray(kept.value)) return [];
  return kept.value.filter((one): one is Person => Array.isArray(one) && one.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string'))).slice(0, MAX);
}
