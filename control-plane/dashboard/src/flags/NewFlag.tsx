// Make a flag: a name and a kind. It serves the old behaviour to everyone until somebody says otherwise.
import { SegmentedControl, Text, Textarea } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { type Place, touching, useChange } from '../api';
import { ChangeDialog, Field } from '../parts';
import { keyProblem, newFlag, type FlagTemplate } from '../model/templates.ts';
import { create } from './reads';

const KINDS: { value: FlagTemplate; label: string }[] = [
  { value: 'boolean', label: 'Boolean' }, { value: 'string', label: 'Text' }, { value: 'integer', label: 'Integer' }, { value: 'float', label: 'Number' }, { value: 'object', label: 'JSON' },
];

export function NewFlag({ place, onClose }: { place: Place; onClose: () => void }) {
  const navigate = useNavigate();
  const [key, setKey] = useState('');
  const [kind, setKind] = useState<FlagTemplate>('boolean');
  const [description, setDescription] = useState('');
  const doc = newFlag(key, kind, description.trim());
  const change = useChange(() => create(place, doc), touching(place, 'flags'));
  const wrong = keyProblem(key);
  const [first, second] = (doc.variations as { key: string }[]).map((one) => one.key);
  return (
    <ChangeDialog title="Make a flag" verb="Make it" change={change} isReady={key !== '' && wrong === undefined} onClose={onClose} onDone={() => void navigate({ to: '/$project/$environment/flags/$flag', params: { ...place, flag: key } })}>
      <Field data-autofocus label="Key" description="What code asks for. It stays as it is." placeholder="free-shipping" value={key} error={wrong} onChange={setKey} />
      <div>
        <Text size="sm" fw={500} id="kind-of-flag">It serves</Text>
        <SegmentedControl fullWidth size="xs" aria-labelledby="kind-of-flag" data={KINDS} value={kind} onChange={(value) => setKind(value as FlagTemplate)} />
      </div>
      <Textarea label="What it is for" rows={2} value={description} onChange={(event) => setDescription(event.currentTarget.value)} />
      <Text size="sm" c="dimmed">Two variations, <b>{first}</b> and <b>{second}</b>. Everyone gets <b>{second}</b> until you say otherwise.</Text>
    </ChangeDialog>
  );
}
