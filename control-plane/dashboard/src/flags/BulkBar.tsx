// What is done to many flags at once: owner, tag, archive, bring to another environment. Never "on".
import { Button, Group, NativeSelect, Text, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { asProblem, environments as readEnvironments, type Place } from '../api';
import { counted } from '../model/words.ts';
import { copyTo, detailsOf, NO_DETAILS, saveDetails, type Details } from './reads';

interface BulkBarProps { place: Place; chosen: ReadonlySet<string>; onDone: () => void }

type Verb = 'tag' | 'owner' | 'archive' | 'copy';

const VERBS = [{ value: 'tag', label: 'Add the tag' }, { value: 'owner', label: 'Set the owner to' }, { value: 'archive', label: 'Archive' }, { value: 'copy', label: 'Bring to' }];

const CHANGES: Record<Exclude<Verb, 'copy'>, (details: Details, text: string) => Details> = {
  tag: (details, text) => ({ ...details, tags: [...new Set([...details.tags, text])] }),
  owner: (details, text) => ({ ...details, owner: text }),
  archive: (details) => ({ ...details, archived: true }),
};

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
