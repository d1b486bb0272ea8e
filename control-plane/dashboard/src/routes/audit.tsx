// Who did what, newest first: by person and by flag, across everything that one may see.
import { Button, Group, Stack, Text } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { asProblem, type Place, type Schemas } from '../api';
import { AuditList, readAudit } from '../flags/AuditList';
import '../flags/flags.css';
import { count } from '../model/words.ts';
import { clean, Filter } from '../parts/filter';
import { Page } from '../parts';
import { usePlace } from './place';
import type { AuditSearch } from './search';

export function Audit() {
  const place = usePlace();
  const search = useSearch({ from: '/$project/$environment/audit' });
  const navigate = useNavigate({ from: '/$project/$environment/audit' });
  const set = (part: AuditSearch) => void navigate({ search: (old: AuditSearch) => clean({ ...old, ...part }), replace: true });
  return (
    <Page title="Audit" about={`Every change in ${place.environment}, the newest first. Nothing here can be altered.`} actions={<Export place={place} search={search} />}>
      <Stack gap="sm">
        <Group gap="sm" align="flex-end">
          <Filter label="Who" placeholder="user:ada" w={170} value={search.actor} onChange={(actor) => set({ actor })} />
          <Filter label="Flag" placeholder="free-shipping" w={170} value={search.flag} onChange={(flag) => set({ flag })} />
          <Filter label="What" placeholder="flag.put" w={170} value={search.action} onChange={(action) => set({ action })} />
          <Filter label="From (UTC)" type="date" w={170} value={search.from} onChange={(from) => set({ from })} />
          <Filter label="To" type="date" w={170} value={search.to} onChange={(to) => set({ to })} />
          {Object.keys(search).length > 0 ? <Button variant="subtle" onClick={() => void navigate({ search: {} })}>All of them</Button> : null}
        </Group>
        <AuditList place={place} search={search} />
      </Stack>
    </Page>
  );
}

const EXPORT_MAX = 10_000;

/** Everything that the filters leave, one entry a line. */
function Export({ place, search }: { place: Place; search: AuditSearch }) {
  const [said, setSaid] = useState<string | null>(null);
  const run = async () => {
    try {
      const lines: string[] = [];
      let cursor: string | null = '';
      while (cursor !== null && lines.length < EXPORT_MAX) {
        const page: Schemas['EntryList'] = await readAudit(place, search, 1000, cursor);
        lines.push(...page.audit.map((entry) => JSON.stringify(entry)));
        cursor = page.next;
        setSaid(`${count(lines.length)} entries …`);
      }
      const address = URL.createObjectURL(new Blob([`${lines.join('\n')}\n`], { type: 'application/x-ndjson' }));
      const link = Object.assign(document.createElement('a'), { href: address, download: `audit-${place.project}-${place.environment}.ndjson` });
      link.click();
      URL.revokeObjectURL(address);
      setSaid(cursor === null ? `${count(lines.length)} entries` : `The newest ${count(lines.length)} entries; ask for less with a filter.`);
    } catch (thrown) {
      setSaid(asProblem(thrown).message);
    }
  };
  return <>{said === null ? null : <Text size="sm" c="dimmed" role="status">{said}</Text>}<Button variant="default" onClick={() => void run()}>Export</Button></>;
}
