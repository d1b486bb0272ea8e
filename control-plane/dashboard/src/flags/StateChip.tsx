// Whether a flag is on, as a chip that can be pressed: it asks who flips before anything is done. There is no naked switch.
import { useQuery } from '@tanstack/react-query';
import { flag as readFlag, type Place, touching, useChange } from '../api';
import { Chip } from '../parts';
import { switchOff, switchOn, switchRehearsal } from './reads';
import { RehearsedSheet } from './RehearsedSheet';

/** The chip in a row. It only asks for the sheet: a list has one for all of its rows. */
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
