// Contexts that are asked again and again, kept in this browser.
import { Button, Menu } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import type { Place } from '../api';
import { readJson, short } from '../model/json.ts';

type Typed = ReadonlyMap<string, string>;
type Person = [string, string][];

const MAX = 20;

export function SavedPeople({ place, typed, onChoose }: { place: Place; typed: Typed; onChoose: (typed: Typed) => void }) {
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
