// What is done from the list of flags: to many at once, and making one.
import { Button, Group, NativeSelect, SegmentedControl, Text, Textarea, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from '@tanstack/react-router';
import { asProblem, environments as readEnvironments, type Place, touching, useChange } from '../api';
import { counted } from '../model/words.ts';
import { ChangeDialog, Field } from '../parts';
import { type FlagTemplate, keyProblem, newFlag } from '../model/templates.ts';
import { copyTo, create, type Details, detailsOf, NO_DETAILS, saveDetails } from './reads';

interface BulkBarProps { place: Place; chosen: ReadonlySet<string>; onDone: () => void }

type Verb = 'tag' | 'owner' | 'archive' | 'copy';

const VERBS = [{ value: 'tag', label: 'Add the tag' }, { value: 'owner', label: 'Set the owner to' }, { value: 'archive', label: 'Archive' }, { value: 'copy', label: 'Bring to' }];

const CHANGES: Record<Exclude<Verb, 'copy'>, (details: Details, text: string) => Details> = {
  tag: (details, text) => ({ ...details, tags: [...new Set([...details.tags, text])] }),
  owner: (details, text) => ({ ...details, owner: text }),
  archive: (details) => ({ ...details, archived: true }),
};

/** Owner, tag, archive, bring to another environment. Never "on". */
export function BulkBar({ place, chosen, onDone }: BulkBarProps) {
  const queries = useQueryClient();
  const others = (useQuery(readEnvironments(place.project)).data?.environments ?? []).map((one) => one.key).filter((one) => one !== place.environment);
  const [verb, setVerb] = useState<Verb>('tag');
  const [text, setText] = useState('');
  const [said, setSaid] = useState<string | null>(null);
  const [isRunning, setRunning] = useState(false);
  const target = verb === 'copy' ? (text === '' ? (others[0] ?? '') : text) : text.trim();

  const run = async () => {
    setRunning(true);
    const failed: string[] = [];
    const flags = [...chosen];
    const known = verb === 'copy' ? new Map() : await queries.fetchQuery({ ...detailsOf(place.project), staleTime: 0 }).catch(() => new Map());
    for (const [at, flag] of flags.entries()) {
      setSaid(`${at + 1} of ${flags.length} …`);
      try {
        // Only where there is none: what is there is compared one by one.
        if (verb === 'copy') await copyTo(place, flag, target, { 'if-none-match': '*' }, false);
        else await saveDetails(place.project, flag, CHANGES[verb](known.get(flag)?.details ?? NO_DETAILS, target), known.get(flag));
      } catch (thrown) {
        failed.push(`${flag}: ${asProblem(thrown).message}`);
      }
    }
    await Promise.all(['flags', 'flag-details', 'audit'].map((name) => queries.invalidateQueries({ queryKey: [name, place.project] })));
    setRunning(false);
    setSaid(failed.length === 0 ? null : `${flags.length - failed.length} of ${flags.length} done. ${failed.slice(0, 3).join('; ')}${failed.length > 3 ? ' …' : ''}`);
    if (failed.length === 0) onDone();
  };

  return (
    <div className="savebar" role="region" aria-label="Chosen flags">
      <Group gap="sm" align="center">
        <Text size="sm" fw={600}>{counted(chosen.size, 'flag')}</Text>
        <NativeSelect aria-label="What to do" size="xs" data={others.length === 0 ? VERBS.slice(0, 3) : VERBS} value={verb} onChange={(event) => { setVerb(event.currentTarget.value as Verb); setText(''); }} />
        {verb === 'copy' ? <NativeSelect aria-label="Environment" size="xs" data={others} value={target} onChange={(event) => setText(event.currentTarget.value)} /> : verb === 'archive' ? null : <TextInput aria-label={verb === 'tag' ? 'Tag' : 'Owner'} size="xs" value={text} onChange={(event) => setText(event.currentTarget.value)} />}
        <Button loading={isRunning} disabled={verb !== 'archive' && target === ''} onClick={() => void run()}>Do it</Button>
        <Button variant="subtle" color="gray" onClick={onDone}>Choose none</Button>
        {said === null ? null : <Text size="xs" c="dimmed" role="status" className="break">{said}</Text>}
      </Group>
    </div>
  );
}

const KINDS: { value: FlagTemplate; label: string }[] = [
  { value: 'boolean', label: 'Boolean' }, { value: 'string', label: 'Text' }, { value: 'integer', label: 'Integer' }, { value: 'float', label: 'Number' }, { value: 'object', label: 'JSON' },
];

/** Make a flag: a name and a kind. It serves the old behaviour to everyone until somebody says otherwise. */
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
