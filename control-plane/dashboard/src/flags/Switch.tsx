// Whether a flag is on, and what switches it: there is no naked switch, and nothing holds up switching off.
import { Button, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Power } from 'lucide-react';
import { useState } from 'react';
import { flag as readFlag, type Place, touching, useChange } from '../api';
import { Chip } from '../parts';
import { switchOff, switchOn, switchRehearsal } from './reads';
import { RehearsedSheet, StopPopover } from './RehearsedSheet';

/** The chip in a row, to be pressed. It only asks for the sheet: a list has one for all of its rows. */
export function StateChip({ flagKey, isOn, onSwitch }: { flagKey: string; isOn: boolean; onSwitch: (() => void) | null }) {
  const chip = <Chip tone={isOn ? 'good' : 'quiet'}>{isOn ? 'on' : 'off'}</Chip>;
  if (onSwitch === null) return chip;
  return <button type="button" className="plain state-button" aria-haspopup="dialog" aria-label={`${flagKey} is ${isOn ? 'on' : 'off'}: switch it ${isOn ? 'off' : 'on'} …`} onClick={onSwitch}>{chip}</button>;
}

export function SwitchSheet({ place, flagKey, to, onClose }: { place: Place; flagKey: string; to: 'on' | 'off'; onClose: () => void }) {
  const flag = useQuery({ ...readFlag(place, flagKey), enabled: to === 'on' });
  const isReady = to === 'off' || flag.data !== undefined;
  const etag = flag.data?.etag ?? null;
  const change = useChange((headers) => (to === 'off' ? switchOff(place, flagKey, headers) : switchOn(place, flagKey, headers)), touching(place, 'flag', 'flags', 'audit'));
  const rehearsal = useQuery({ ...switchRehearsal(place, flagKey, to, etag), retry: false, enabled: change.state.step === 'idle' && isReady });
  return (
    <RehearsedSheet
      title={<bdi>{`Switch “${flagKey}” ${to} in ${place.environment}`}</bdi>} verb={`Switch ${to}`} nothing={`It is ${to} already.`} place={place} change={change} rehearsal={rehearsal} etag={etag}
      isReady={isReady} isHarmful={to === 'off'} onStale={() => { change.reset(); void flag.refetch(); }} onClose={onClose}
    />
  );
}

/** Off for everybody, now. It asks no question of the server and is held up by nothing: not by an edit, not by a tag, not by a form. */
export function KillButton({ place, flagKey, isOn }: { place: Place; flagKey: string; isOn: boolean }) {
  const [isOpen, setOpen] = useState(false);
  const change = useChange(() => switchOff(place, flagKey), touching(place, 'flag', 'flags', 'audit'));
  const open = (next: boolean) => {
    setOpen(next);
    if (next) change.reset();
  };
  return (
    <StopPopover
      label={`Switch ${flagKey} off`} verb="Switch off now" nothing="It was off already." place={place} change={change} isOpen={isOpen} setOpen={open} onClose={() => open(false)}
      button={<Button color="red" variant={isOn ? 'filled' : 'light'} leftSection={<Power size={15} />} aria-haspopup="dialog" onClick={() => { if (!isOpen) open(true); }}>Switch off</Button>}
    >
      <Text size="sm">{isOn ? <>Everyone gets the off variation in <b>{place.environment}</b>, at once. An edit that you have not saved stays.</> : <>It is off in <b>{place.environment}</b> already. Sending it again does no harm.</>}</Text>
    </StopPopover>
  );
}
