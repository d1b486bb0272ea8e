// ⌘K: places and verbs. A verb that stops something acts at once and asks for the reason afterwards.
import { Spotlight, spotlight, type SpotlightActionData } from '@mantine/spotlight';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type KeyboardEventHandler, useEffect, useEffectEvent, useState } from 'react';
import { Text } from '@mantine/core';
import { api, AT, data, fuses, read, touching, useChange } from '../api';
import { usePlace } from '../routes/place';
import { useMayEdit } from '../session/session';
import { StopSheet } from '../flags/RehearsedSheet';
import { switchOff } from '../flags/reads';
import { act } from '../fuse/reads';
import { SCREENS } from './places';

const SHOWN_MAX = 12;

/** Opens when it is first shown, which is when somebody first wants it. */
export function Palette() {
  useEffect(() => spotlight.open(), []);
  const place = usePlace();
  const navigate = useNavigate();
  const [query, setQuery] = useState('');
  const [killed, setKilled] = useState<Killed | null>(null);
  const explained = EXPLAIN.exec(query.trim());
  const word = explained?.[1] ?? query.trim().split(/\s+/).pop() ?? '';
  const found = useQuery({
    ...read('flags', place, (path, signal) => data(api.GET(`${AT}/flags`, { params: { path, query: { limit: SHOWN_MAX, ...(word === '' ? {} : { q: word }) } }, signal })), 'palette', word),
    enabled: query.trim() !== '',
  });
  const armed = new Set((useQuery(fuses(place)).data?.fuses ?? []).map((fuse) => fuse.flag));
  const keys = query.trim() === '' ? [] : (found.data?.flags ?? []).map((item) => item.flag.key);
  const mayEdit = useMayEdit(place);
  const actions: SpotlightActionData[] = [
    ...SCREENS.map(({ label, to, key }) => ({
      id: `go-${label}`,
      label: `Go to ${label}`,
      description: `g ${key}`,
      onClick: () => void navigate({ to, params: { ...place, tab: 'environments' } }),
    })),
    ...keys.flatMap((flag) => [
      ...(explained === null ? [] : [explain(flag, explained[2]?.trim() ?? '', (as) => void navigate({ to: '/$project/$environment/flags/$flag', params: { ...place, flag }, search: as === '' ? {} : { as } }))]),
      { id: `flag-${flag}`, label: flag, description: 'Flag', onClick: () => void navigate({ to: '/$project/$environment/flags/$flag', params: { ...place, flag } }) },
      { id: `who-${flag}`, label: `Who changed ${flag}`, description: 'History', onClick: () => void navigate({ to: '/$project/$environment/flags/$flag', params: { ...place, flag }, search: { tab: 'history' } }) },
      ...(armed.has(flag)
        ? [{ id: `fuse-${flag}`, label: `Fuse of ${flag}`, description: 'Fuse', onClick: () => void navigate({ to: '/$project/$environment/flags/$flag/fuse', params: { ...place, flag } }) }]
        : []),
      ...(mayEdit ? verbs(flag, armed.has(flag), setKilled) : []),
    ]),
  ];
  return (
    <>
      <Spotlight
        actions={actions}
        query={query}
        onQueryChange={setQuery}
        filter={(typed, all) => all.filter((action) => 'label' in action && matches(String(action.label), typed))}
        shortcut={null}
        nothingFound="Nothing of that name"
        overlayProps={{ blur: 0 }}
        limit={SHOWN_MAX}
        scrollable
        searchProps={{ placeholder: 'Go somewhere, or: explain free-shipping for user-7', 'aria-label': 'Go somewhere or do something', onKeyDown: takeFirst }}
      />
      {killed !== null && <Kill killed={killed} onClose={() => setKilled(null)} />}
    </>
  );
}

/** `explain free-shipping for user-7` */
const EXPLAIN = /^explain\s+(\S+)(?:\s+for\s+(.+))?$/i;

function explain(flag: string, as: string, go: (as: string) => void): SpotlightActionData {
  return { id: `explain-${flag}`, label: `Explain ${flag}${as === '' ? '' : ` for ${as}`}`, description: 'What it answers, and why', onClick: () => go(as) };
}

function verbs(flag: string, isArmed: boolean, kill: (killed: Killed) => void): SpotlightActionData[] {
  const off = { id: `off-${flag}`, label: `Kill ${flag}`, description: 'Switches the flag off for everybody', onClick: () => kill({ flag, by: 'off' }) };
  const trip = { id: `trip-${flag}`, label: `Trip ${flag}`, description: 'Opens the fuse: nobody gets the treatment', onClick: () => kill({ flag, by: 'trip' }) };
  return isArmed ? [trip, off] : [off];
}

const ACTION = '.mantine-Spotlight-action';

/** ⏎ takes what stands first where nothing was chosen. */
const takeFirst: KeyboardEventHandler<HTMLInputElement> = (event) => {
  if (event.key !== 'Enter' || document.querySelector(`${ACTION}[data-selected]`) !== null) return;
  event.preventDefault();
  document.querySelector<HTMLElement>(ACTION)?.click();
};

/** All typed words are in the label, in whatever order. */
function matches(label: string, typed: string): boolean {
  return typed.toLowerCase().split(/\s+/).every((word) => label.toLowerCase().includes(word));
}

interface Killed {
  flag: string;
  by: 'trip' | 'off';
}

/** Stopping something: one question, ⏎, then its receipt in place. */
function Kill({ killed: { flag, by }, onClose }: { killed: Killed; onClose: () => void }) {
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
