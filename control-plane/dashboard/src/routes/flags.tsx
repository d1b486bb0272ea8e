// All flags of an environment: searched, filtered and sorted by the server, drawn as far as they are in sight.
import { Button, Code, Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useHotkeys, useMediaQuery } from '@mantine/hooks';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { Plus, Search } from 'lucide-react';
import { useCallback, useMemo, useRef, useState } from 'react';
import '../flags/flags.css';
import { BulkBar, NewFlag } from '../flags/ListActions';
import { FlagTable } from '../flags/FlagTable';
import { flagRows } from '../flags/reads';
import { clean, Filter } from '../parts/filter';
import { Empty, Loaded, Page } from '../parts';
import { useMayEdit } from '../session/session';
import { counted } from '../model/words.ts';
import { usePlace } from './place';
import type { FlagsSearch } from './search';

const SORTS = [
  { value: 'key', label: 'by key' }, { value: '-key', label: 'by key, backwards' }, { value: '-changed', label: 'newest change first' }, { value: 'changed', label: 'oldest change first' },
];

export function Flags() {
  const place = usePlace();
  const mayEdit = useMayEdit(place);
  const mayChoose = useMayEdit({ project: place.project });
  const search = useSearch({ from: '/$project/$environment/flags' });
  const navigate = useNavigate({ from: '/$project/$environment/flags' });
  const isNarrow = useMediaQuery('(max-width: 48em)') ?? false;
  const [isMaking, setMaking] = useState(false);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const input = useRef<HTMLInputElement>(null);
  useHotkeys([['/', () => input.current?.focus()]]);
  const query = useInfiniteQuery({ ...flagRows(place, search), placeholderData: keepPreviousData });
  const rows = useMemo(() => (query.data?.pages ?? []).flatMap((page) => page.rows), [query.data]);
  const total = query.data?.pages[0]?.total;
  const words = total === undefined ? '' : `${counted(total.count, 'flag')}${total.is_more ? ' and more' : ''}`;
  const isFiltered = Object.entries(search).some(([name, value]) => name !== 'sort' && value !== undefined);
  const set = (part: FlagsSearch) => void navigate({ search: (old: FlagsSearch) => clean({ ...old, ...part }), replace: true });
  const choose = useCallback((key: string) => setChosen((old) => { const next = new Set(old); if (!next.delete(key)) next.add(key); return next; }), []);
  const { fetchNextPage } = query;
  const more = useCallback(() => void fetchNextPage(), [fetchNextPage]);

  return (
    <Page title="Flags" about={words} actions={mayEdit ? <Button leftSection={<Plus size={14} />} onClick={() => setMaking(true)}>Make a flag</Button> : null}>
      <Stack gap="sm">
        <Group gap="sm">
          <Filter ref={input} aria-label="Search flags" placeholder="Search  /" leftSection={<Search size={14} />} w={240} value={search.q} onChange={(q) => set({ q })} />
          <NativeSelect aria-label="Order" size="sm" data={SORTS} value={search.sort ?? 'key'} onChange={(event) => set({ sort: event.currentTarget.value === 'key' ? '' : event.currentTarget.value })} />
          <NativeSelect aria-label="State" size="sm" data={[{ value: '', label: 'on and off' }, { value: 'on', label: 'on' }, { value: 'off', label: 'off' }]} value={search.state ?? ''} onChange={(event) => set({ state: event.currentTarget.value })} />
          <NativeSelect aria-label="Fuse" size="sm" data={[{ value: '', label: 'any fuse or none' }, { value: 'CLOSED', label: 'fuse closed' }, { value: 'HALF_OPEN', label: 'fuse half open' }, { value: 'OPEN', label: 'fuse open' }]} value={search.fuse ?? ''} onChange={(event) => set({ fuse: event.currentTarget.value })} />
          <Filter aria-label="Owner" placeholder="Owner" w={110} value={search.owner} onChange={(owner) => set({ owner })} />
          <Filter aria-label="Tag" placeholder="Tag" w={110} value={search.tag} onChange={(tag) => set({ tag })} />
          {isFiltered ? <Button variant="subtle" onClick={() => void navigate({ search: {} })}>Clear</Button> : null}
        </Group>
        <Loaded query={query}>
          {() => rows.length === 0 ? (isFiltered ? <Empty action={<Button variant="default" onClick={() => void navigate({ search: {} })}>All flags</Button>}>No flag has that in its key or name.</Empty> : <NoFlags mayEdit={mayEdit} onMake={() => setMaking(true)} />) : (
            <FlagTable place={place} rows={rows} total={words} mayEdit={mayEdit} mayChoose={mayChoose} isNarrow={isNarrow} hasMore={query.hasNextPage && !query.isFetchingNextPage} onMore={more} chosen={chosen} onChoose={choose} />
          )}
        </Loaded>
      </Stack>
      {chosen.size > 0 && mayChoose ? <BulkBar place={place} chosen={chosen} onDone={() => setChosen(new Set())} /> : null}
      {isMaking ? <NewFlag place={place} onClose={() => setMaking(false)} /> : null}
    </Page>
  );
}

function NoFlags({ mayEdit, onMake }: { mayEdit: boolean; onMake: () => void }) {
  return (
    <Empty action={mayEdit ? <Button leftSection={<Plus size={14} />} onClick={onMake}>Make the first one</Button> : null}>
      <Text size="sm">No flag yet. Make one here, or bring yours along:</Text>
      <Code>flagfuse import flags.json --format unleash</Code>
    </Empty>
  );
}
