// Rows of flags, as many as there are: only those in sight are drawn. `j` and `k` move, ⏎ opens.
import { useHotkeys } from '@mantine/hooks';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useRouter } from '@tanstack/react-router';
import { memo, type MouseEvent, useEffect, useMemo, useRef, useState } from 'react';
import type { Place } from '../api';
import { Chip, CircuitChip, span, useNow, utc } from '../parts';
import type { FlagRow } from './reads';
import { StateChip, SwitchSheet } from './Switch';

interface FlagTableProps {
  place: Place;
  rows: readonly FlagRow[];
  total: string;
  mayEdit: boolean;
  mayChoose: boolean;
  isNarrow: boolean;
  hasMore: boolean;
  onMore: () => void;
  chosen: ReadonlySet<string>;
  onChoose: (key: string) => void;
}

interface Switched { key: string; to: 'on' | 'off' }

export function FlagTable({ place, rows, total, mayEdit, mayChoose, isNarrow, hasMore, onMore, chosen, onChoose }: FlagTableProps) {
  const { navigate } = useRouter();
  const links = useLinks(place);
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const [switched, setSwitched] = useState<Switched | null>(null);
  const now = useNow(10_000);
  const size = isNarrow ? 68 : 44;
  // eslint-disable-next-line react-hooks/incompatible-library -- the rows in sight are made anew with each scroll, which is what it is for
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => box.current, estimateSize: () => size, overscan: 8, getItemKey: (index) => rows[index]?.key ?? index });
  const items = virtual.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;
  useEffect(() => {
    if (hasMore && last >= rows.length - 40) onMore();
  }, [hasMore, last, rows.length, onMore]);

  const move = (by: number) => {
    const next = Math.min(rows.length - 1, Math.max(0, at + by));
    setAt(next);
    virtual.scrollToIndex(next);
    requestAnimationFrame(() => box.current?.querySelector<HTMLElement>(`[data-at="${next}"] a`)?.focus());
  };
  const current = rows[at];
  useHotkeys([
    ['j', () => move(1)],
    ['k', () => move(-1)],
    ['x', () => { if (current !== undefined && mayChoose) onChoose(current.key); }],
    ['e', () => { if (current !== undefined) void navigate({ to: '/$project/$environment/flags/$flag', params: { ...place, flag: current.key } }); }],
  ]);

  return (
    <div className="surface flag-table" ref={box} style={{ height: `min(${rows.length * size + (isNarrow ? 2 : 34)}px, calc(100vh - 240px))` }} role="table" aria-label={`Flags, ${total}`} aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div className="flag-row flag-head" role="row" style={{ position: 'sticky' }}>
          {['', 'Flag', 'State', 'Serves', 'Fuse', 'Owner', 'Last asked', 'Changed'].map((name, column) => <span role="columnheader" key={name} aria-label={column === 0 ? 'Chosen' : undefined}>{name}</span>)}
        </div>
      </div>
      <div role="rowgroup" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
        {items.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          return <Row key={item.key} row={row} at={item.index} start={item.start} now={now} isChosen={chosen.has(row.key)} links={links} onFocus={setAt} onChoose={mayChoose ? onChoose : null} onSwitch={mayEdit ? setSwitched : null} />;
        })}
      </div>
      {switched === null ? null : <SwitchSheet place={place} flagKey={switched.key} to={switched.to} onClose={() => setSwitched(null)} />}
    </div>
  );
}

interface Links {
  /** Address of the list: a flag's begins with it. */
  flags: string;
  open: (event: MouseEvent, to: FlagRoute, flag: string) => void;
  /** What the address needs is fetched when somebody is about to follow it. */
  expect: (to: FlagRoute, flag: string) => void;
}

type FlagRoute = '/$project/$environment/flags/$flag' | '/$project/$environment/flags/$flag/fuse';

/** What the router's own links do, made once for the whole list: a link each costs more than the rest of its row. */
function useLinks(place: Place): Links {
  const router = useRouter();
  return useMemo(() => {
    const { publicHref } = router.buildLocation({ to: '/$project/$environment/flags', params: place });
    return {
      flags: router.history.createHref(publicHref),
      open: (event, to, flag) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        void router.navigate({ to, params: { ...place, flag } });
      },
      expect: (to, flag) => void router.preloadRoute({ to, params: { ...place, flag } }),
    };
  }, [router, place]);
}

interface RowProps {
  row: FlagRow;
  at: number;
  start: number;
  now: number;
  isChosen: boolean;
  links: Links;
  onFocus: (at: number) => void;
  onChoose: ((key: string) => void) | null;
  onSwitch: ((switched: Switched) => void) | null;
}

/** Plain elements: forty rows are made within one frame when somebody drags the scroll bar. */
const Row = memo(function Row({ row, at, start, now, isChosen, links, onFocus, onChoose, onSwitch }: RowProps) {
  const isOn = row.state === 'on';
  const link = (to: FlagRoute, end: string) => ({
    href: `${links.flags}/${encodeURIComponent(row.key)}${end}`,
    onClick: (event: MouseEvent) => links.open(event, to, row.key),
    onPointerEnter: () => links.expect(to, row.key),
  });
  return (
    <div className="flag-row" role="row" aria-rowindex={at + 2} data-at={at} data-chosen={isChosen} style={{ transform: `translateY(${start}px)` }}>
      <span role="cell" className="wide">{onChoose === null ? null : <input type="checkbox" aria-label={`Choose ${row.key}`} checked={isChosen} onChange={() => onChoose(row.key)} />}</span>
      <span role="cell" className="truncate">
        <a {...link('/$project/$environment/flags/$flag', '')} onFocus={() => onFocus(at)}><bdi><b>{row.key}</b></bdi></a>{row.name === '' || row.name === row.key ? null : <span className="quiet"> <bdi>{row.name}</bdi></span>}
        {row.archived ? <Chip tone="quiet">archived</Chip> : null}
        {row.tags.slice(0, 3).map((tag) => <Chip key={tag} tone="quiet">{tag}</Chip>)}
      </span>
      <span role="cell"><StateChip flagKey={row.key} isOn={isOn} onSwitch={onSwitch === null ? null : () => onSwitch({ key: row.key, to: isOn ? 'off' : 'on' })} /></span>
      <span role="cell" className="quiet truncate narrow-line" title={row.sentence}><bdi>{row.sentence}</bdi></span>
      <span role="cell" className="wide">{row.fuse === null ? null : <a {...link('/$project/$environment/flags/$flag/fuse', '/fuse')} title={`Fuse of ${row.key}`}><CircuitChip circuit={row.fuse.circuit} />{row.fuse.stages > 1 && row.fuse.circuit === 'CLOSED' ? <span className="num"> {row.fuse.stage}/{row.fuse.stages}</span> : null}</a>}</span>
      <span role="cell" className="wide truncate"><bdi>{row.owner}</bdi></span>
      <span role="cell" className="wide quiet">{row.last_asked_ms === null ? 'not lately' : <Since ms={row.last_asked_ms} now={now} />}</span>
      <span role="cell" className="wide quiet"><Since ms={row.changed_ms} now={now} /></span>
    </div>
  );
});

/** One clock for all rows, and no tooltip of its own for each: rows have to be drawn while somebody scrolls. */
function Since({ ms, now }: { ms: number; now: number }) {
  return <time className="num" dateTime={new Date(ms).toISOString()} title={utc(ms)}>{now - ms < 1500 ? 'now' : `${span(now - ms)} ago`}</time>;
}
