// Stopping something from the palette: one question, ⏎, then its receipt in place.
import { Text } from '@mantine/core';
import { useEffect, useEffectEvent } from 'react';
import { touching, useChange } from '../api';
import { StopSheet } from '../flags/RehearsedSheet';
import { switchOff } from '../flags/reads';
import { act } from '../fuse/reads';
import { usePlace } from '../routes/place';

export interface Killed {
  flag: string;
  by: 'trip' | 'off';
}

export function Kill({ killed: { flag, by }, onClose }: { killed: Killed; onClose: () => void }) {
  const place = usePlace();
  const change = useChange(() => (by === 'off' ? switchOff(place, flag) : act(place, flag, 'trip', '', {})), touching(place, 'flag', 'flags', 'fuse', 'fuses', 'audit'));
  const isIdle = change.state.step === 'idle';
  const kill = useEffectEvent(() => void change.run(null));
  useEffect(() => {
    if (!isIdle) return undefined;
    // The dialog takes the focus a moment after it is there; whoever is in a hurry has pressed ⏎ by then.
    // The ⏎ that opened it is still on its way.
    const sinceMs = performance.now();
    const press = (event: KeyboardEvent) => {
      if (event.key !== 'Enter' || event.repeat || event.timeStamp <= sinceMs || document.activeElement?.closest('[role="dialog"] button') != null) return;
      event.preventDefault();
      kill();
    };
    window.addEventListener('keydown', press, true);
    return () => window.removeEventListener('keydown', press, true);
  }, [isIdle]);
  const [title, verb, says] = by === 'trip'
    ? [`Trip the fuse of ${flag}`, 'Trip', 'Nobody gets the treatment any more, at once and everywhere.']
    : [`Kill ${flag}`, 'Kill', 'Everybody gets the off variation, at once and everywhere.'];
  return <StopSheet title={title} verb={verb} nothing="It was so already." place={place} change={change} onClose={onClose}><Text size="sm">{says}</Text></StopSheet>;
}
