// Back to an earlier version of one flag, as a change of its own: first who flips, then the receipt.
import { Button, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, AT, data, type Place, type Schemas, tagged, touching, useChange, useTag } from '../api';
import { useMayEdit } from '../session/session';
import { RehearsedSheet } from './RehearsedSheet';

const REVERT = `${AT}/revert` as const;

export function RevertButton({ place, flag, version }: { place: Place; flag: string; version: string }) {
  const [isOpen, setOpen] = useState(false);
  if (!useMayEdit(place)) return null;
  return (
    <>
      <Button mt="xs" variant="default" onClick={() => setOpen(true)}>{`Back to how it was in ${version}`}</Button>
      {isOpen ? <RevertSheet place={place} flag={flag} version={version} onClose={() => setOpen(false)} /> : null}
    </>
  );
}

function RevertSheet({ place, flag, version, onClose }: { place: Place; flag: string; version: string; onClose: () => void }) {
  const params = { path: { project: place.project, environment: place.environment } };
  const body = { to: version, flag };
  // A revert is compared with the whole environment: its tag is the newest version.
  const etag = useTag(['environment-tag', place.project, place.environment], (signal) => tagged(api.GET(AT, { params, signal })));
  const change = useChange(async (headers) => (await data(api.POST(REVERT, { params, headers, body }))) as Schemas['Made'], touching(place, 'flag', 'flags', 'audit', 'fuse'));
  const rehearsal = useQuery({
    queryKey: ['revert', place.project, place.environment, flag, version, etag],
    queryFn: async () => (await data(api.POST(REVERT, { params: { ...params, query: { dry_run: true } }, headers: { 'if-match': etag ?? '*' }, body }))) as Schemas['Rehearsal'],
    enabled: etag !== null && change.state.step === 'idle',
    retry: false,
    gcTime: 0,
  });
  return (
    <RehearsedSheet title={`${flag}: back to ${version}`} verb="Take it back" nothing="It is as it was then already." place={place} change={change} rehearsal={rehearsal} etag={etag} isReady={rehearsal.data !== undefined} onClose={onClose}>
      <Text size="sm" c="dimmed">It comes under a new version. What a fuse holds is held, and what tripped stays off.</Text>
    </RehearsedSheet>
  );
}
