// Off for everybody, now. It asks no question of the server and is held up by nothing: not by an edit, not by a tag, not by a form.
import { Button, Text } from '@mantine/core';
import { Power } from 'lucide-react';
import { useState } from 'react';
import { type Place, touching, useChange } from '../api';
import { switchOff } from './reads';
import { StopPopover } from './RehearsedSheet';

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
