// Events that could not be counted, by why: what one looks like, what to do, and counting them after all, rehearsed first.
import { Button, Code, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { counted } from '../model/words.ts';
import { api, AT, data, read, type Schemas, touching, useChange } from '../api';
import { Ago, ChangeDialog, Chip, Loaded, Row, Rows, Section } from '../parts';
import { useMayEdit } from '../session/session';
import { usePlace } from './place';

type Group_ = Schemas['Group'];

export function Quarantine({ groups }: { groups: Group_[] }) {
  const place = usePlace();
  const mayEdit = useMayEdit(place);
  const [asked, setAsked] = useState<Group_ | null>(null);
  return (
    <Section title="Quarantine" about="refused, kept for 30 days, never dropped in silence">
      <Rows label="Refused events" empty="No event was refused.">
        {groups.map((group) => {
          const end = (
            <>
              <Text size="sm" className="num">{counted(group.events, 'event')}, {group.waiting} waiting</Text>
              <Text size="xs" c="dimmed">last <Ago ms={group.last_ms} /></Text>
              {mayEdit && group.waiting > 0 && <Button variant="default" onClick={() => setAsked(group)}>Replay …</Button>}
            </>
          );
          return (
            <Row key={`${group.code}/${group.flag}/${group.sdk}`} end={end}>
              <Chip tone="warn">{group.code}</Chip>
              <Text size="sm" component="span">{group.flag === '' ? 'no flag' : group.flag} · {group.sdk === '' ? 'SDK not named' : group.sdk}</Text>
              <Text size="sm" className="break" w="100%">{group.reason}</Text>
            </Row>
          );
        })}
      </Rows>
      {asked !== null && <Replay group={asked} onClose={() => setAsked(null)} />}
    </Section>
  );
}

function Replay({ group, onClose }: { group: Group_; onClose: () => void }) {
  const place = usePlace();
  const ask = (dry_run: boolean, signal?: AbortSignal) => {
    const body = { dry_run, code: group.code, ...(group.flag === '' ? {} : { flag: group.flag }), ...(group.sdk === '' ? {} : { sdk: group.sdk }) };
    return data(api.POST(`${AT}/quarantine/replay`, { params: { path: place }, body, ...(signal === undefined ? {} : { signal }) }));
  };
  const rehearsal = useQuery({ ...read('replay', place, (_, signal) => ask(true, signal), group), gcTime: 0 });
  const sample = useQuery(read('quarantine', place, (path, signal) => data(api.GET(`${AT}/quarantine`, { params: { path }, signal }))));
  const change = useChange(() => ask(false), touching(place, 'telemetry-health'));
  const passing = rehearsal.data?.would_pass ?? 0;
  const one = sample.data?.quarantine.find((event) => event.code === group.code);
  const done = ({ stored, duplicate, refused }: Schemas['Replayed']) => (
    <Text size="sm" role="status">{counted(stored, 'event')} counted, {counted(duplicate, 'event')} counted before.{refusals(refused)} It is in the audit trail.</Text>
  );
  return (
    <ChangeDialog title={`Replay ${group.code}`} verb={passing === 0 ? 'Nothing would pass' : `Replay ${counted(passing, 'event')}`} size="lg" change={change} isReady={passing > 0} onClose={onClose} done={done}>
      <Text size="sm">{group.reason}</Text>
      {one !== undefined && (
        // What scrolls has to be reachable by keyboard.
        <Code block tabIndex={0} role="group" aria-label="One of them as it came" mah={180} style={{ overflow: 'auto' }}>{one.raw}</Code>
      )}
      <Loaded query={rehearsal} lines={1}>
        {({ looked_at, would_pass, refused }) => <Text size="sm">Of {counted(looked_at, 'event')} that waited, <b>{counted(would_pass, 'event')}</b> would pass the checks now.{refusals(refused)}</Text>}
      </Loaded>
    </ChangeDialog>
  );
}

function refusals(refused: Record<string, number>): string {
  const parts = Object.entries(refused).map(([code, events]) => `${events} × ${code}`);
  return parts.length === 0 ? '' : ` Still refused: ${parts.join(', ')}.`;
}
