// How a program asks the edge: OpenFeature's OFREP providers in eight languages, or an Unleash SDK.
import { Select, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { Snippet } from '../parts';
import { useEdge, useKey } from './edge';
import LANGUAGES from './snippets.json';

export function ConnectSdk() {
  const edge = useEdge();
  const { key, make } = useKey();
  const [name, setName] = useState(LANGUAGES[0]?.name ?? '');
  const language = LANGUAGES.find((language) => language.name === name);
  return (
    <Stack gap="xs">
      {make}
      <Select label="Language" data={LANGUAGES.map((language) => language.name)} value={name} onChange={(value) => setName(value ?? name)} allowDeselect={false} maw={320} />
      {language !== undefined && <Snippet text={language.lines.join('\n').replaceAll('{edge}', edge).replaceAll('{key}', key)} label={language.name} />}
      <Text size="sm">Then say what came of it, so that a fuse has something to compare:</Text>
      <Snippet
        text={`curl -s ${edge}/v1/events -H "Authorization: Bearer ${key}" \\
  -d '{"events": [{"id": "'$(uuidgen)'", "type": "outcome", "metric": "conversion", "unit": "ada", "occurred_ms": '$(date +%s000)'}]}'`}
        label="Command"
      />
    </Stack>
  );
}
