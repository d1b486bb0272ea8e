// Rows of the audit trail, with what is told of each and the way back.
import { Button, Code, Group, Text, VisuallyHidden } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, asProblem, AT, data, pages, type Place, type Schemas, tagged, touching, useChange, useTag } from '../api';
import { Chip, Empty, Opens, ProblemNote, TextLink, Time, type Tone } from '../parts';
import type { AuditSearch } from '../routes/search';
import { useMayEdit } from '../session/session';
import type { FieldChange } from '../model/diff.ts';
import { field, isObject, pointerParts, short, type Json } from '../model/json.ts';
import { percent } from '../model/words.ts';
import { versionOf } from '../routes/audit-words';
import { FieldDiff } from './FieldDiff';
import { RehearsedSheet } from './RehearsedSheet';

const PAGE = 50;
const DAY_MS = 86_400_000;

/** The filters as the API has them. */
function queryOf({ from, to, ...names }: AuditSearch): Record<string, string | number> {
  const day = (text: string | undefined) => { const ms = Date.parse(text ?? ''); return Number.isNaN(ms) ? undefined : ms; };
  const times = { from_ms: day(from), to_ms: day(to) === undefined ? undefined : (day(to) ?? 0) + DAY_MS - 1 };
  return Object.fromEntries(Object.entries({ ...names, ...times }).filter((pair): pair is [string, string | number] => pair[1] !== undefined));
}

export function readAudit(place: Place, search: AuditSearch, limit: number, cursor: string, signal?: AbortSignal): Promise<Schemas['EntryList']> {
  const query = { limit, ...queryOf(search), ...(cursor === '' ? {} : { cursor }) };
  return data(api.GET(`${AT}/audit`, { params: { path: { project: place.project, environment: place.environment }, query }, ...(signal === undefined ? {} : { signal }) }));
}

export function AuditList({ place, search, showsFlag = true }: { place: Place; search: AuditSearch; showsFlag?: boolean }) {
  const query = useInfiniteQuery(pages(['audit', place.project, place.environment, search], ({ cursor = '' }, signal) => readAudit(place, search, PAGE, cursor, signal)));
  const entries = query.data?.pages.flatMap((page) => page.audit) ?? [];
  if (query.error !== null && entries.length === 0) return <ProblemNote problem={asProblem(query.error)} retry={() => void query.refetch()} />;
  if (query.data !== undefined && entries.length === 0) return <Empty>{Object.keys(search).length === 0 ? 'Nothing has been done here yet.' : 'Nothing of that kind. Names have to be whole: user:ada, token:ci, fuse; flag.put.'}</Empty>;
  return (
    <>
      <div className="surface rows" role="list" aria-label="Entries" aria-busy={query.isPending}>
        {entries.map((entry) => <EntryRow key={entry.audit_id} place={place} entry={entry} showsFlag={showsFlag} />)}
      </div>
      {query.hasNextPage ? <Group mt="sm"><Button variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Older ones</Button></Group> : null}
    </>
  );
}

function EntryRow({ place, entry, showsFlag }: { place: Place; entry: Schemas['Entry']; showsFlag: boolean }) {
  const [isOpen, setOpen] = useState(false);
  const mayEdit = useMayEdit(place);
  const detail = entry.detail as Json;
  const version = versionOf(entry);
  const flag = flagOf(entry);
  const turned = turnedIn(entry);
  return (
    <div className="row" role="listitem">
      <Group gap="sm" wrap="wrap">
        <Time ms={entry.at_ms} />
        <Text size="sm" className="break"><b><bdi>{entry.actor}</bdi></b></Text>
        <Chip tone={toneOf(entry.action)}>{entry.action}</Chip>
        {turned === null ? null : <Chip tone={turned === 'off' ? 'bad' : 'good'}>{`switched ${turned}`}</Chip>}
        {showsFlag && flag !== null ? <TextLink size="sm" to="/$project/$environment/flags/$flag" params={{ ...place, flag }} className="break"><bdi>{flag}</bdi></TextLink> : showsFlag ? <Text size="sm" className="break"><bdi>{short(entry.subject, 80)}</bdi></Text> : null}
        <Text size="sm" c="dimmed" flex={1} miw={120} className="break"><bdi>{summaryOf(detail)}</bdi></Text>
        {version === null ? null : <TextLink size="sm" className="num" to="/$project/$environment/changes/$version" params={{ ...place, version }}>{version}</TextLink>}
        {isObject(detail) && Object.keys(detail).length > 0 ? <Button size="compact-xs" variant="subtle" color="gray" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>{isOpen ? 'Less' : 'Detail'}<VisuallyHidden>{` of entry ${entry.audit_id}`}</VisuallyHidden></Button> : null}
      </Group>
      {isOpen ? (
        <div style={{ marginTop: 6 }}>
          {(entry.fields ?? []).length === 0 ? null : <FieldDiff label={`Fields of entry ${entry.audit_id}`} changes={(entry.fields ?? []).map(changeOf)} />}
          {entry.fields_left_out === undefined ? null : <Text size="xs" c="dimmed">{`${entry.fields_left_out} more fields changed.`}</Text>}
          {/* What scrolls has to be reachable by keyboard. */}
          <Code block tabIndex={0} role="group" aria-label={`Detail of entry ${entry.audit_id}`} style={{ maxHeight: 320, overflow: 'auto' }}>{JSON.stringify(detail, null, 2)}</Code>
          {mayEdit && version !== null && flag !== null && entry.action.startsWith('flag.') ? <Opens mt="xs" label={`Back to how it was in ${version}`}>{(close) => <RevertSheet place={place} flag={flag} version={version} onClose={close} />}</Opens> : null}
        </div>
      ) : null}
    </div>
  );
}

/** Back to an earlier version of one flag, as a change of its own: first who flips, then the receipt. */
function RevertSheet({ place, flag, version, onClose }: { place: Place; flag: string; version: string; onClose: () => void }) {
  const params = { path: { project: place.project, environment: place.environment } };
  const body = { to: version, flag };
  // A revert is compared with the whole environment: its tag is the newest version.
  const change = useChange(async (headers) => (await data(api.POST(`${AT}/revert`, { params, headers, body }))) as Schemas['Made'], touching(place, 'flag', 'flags', 'audit', 'fuse'));
  const etag = useTag(change, ['environment-tag', place.project, place.environment], (signal) => tagged(api.GET(AT, { params, signal })));
  const rehearsal = useQuery({
    queryKey: ['revert', place.project, place.environment, flag, version, etag],
    queryFn: async () => (await data(api.POST(`${AT}/revert`, { params: { ...params, query: { dry_run: true } }, headers: { 'if-match': etag ?? '*' }, body }))) as Schemas['Rehearsal'],
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

/** The subject of what concerns a flag is its key, behind `flag:` or `fuse:` where it has such a word. */
export function flagOf(entry: Schemas['Entry']): string | null {
  if (!/^(flag|fuse|rollout|contract|baseline)\./.test(entry.action)) return null;
  const told = field(entry.detail as Json, 'flag');
  return typeof told === 'string' ? told : entry.subject.replace(/^(flag|fuse):/, '');
}

function changeOf(told: Schemas['AuditField']): FieldChange {
  const [before, after] = [told.before, told.after] as [Json | undefined, Json | undefined];
  return { path: pointerParts(told.pointer), kind: before === undefined ? 'added' : after === undefined ? 'removed' : 'altered', before, after };
}

/** Whether it switched a flag, and where to: left out, a flag is on. */
function turnedIn(entry: Schemas['Entry']): 'on' | 'off' | null {
  const told = (entry.fields ?? []).find((one) => one.pointer === '/enabled');
  return told === undefined ? null : told.after === false ? 'off' : 'on';
}

function toneOf(action: string): Tone {
  if (/trip|\.off$|delete|remove|revoke/.test(action)) return 'bad';
  if (/half_open|hold|revert/.test(action)) return 'warn';
  return 'quiet';
}

/** Why, in the words of whoever did it; else the word for what was done, the fuse's summary, or who flipped. */
function summaryOf(detail: Json): string {
  for (const told of [field(detail, 'comment'), field(field(detail, 'evidence'), 'given'), field(detail, 'reason'), field(detail, 'summary')]) {
    if (typeof told === 'string' && told !== '') return short(told, 200);
  }
  const told = field(detail, 'decisions');
  const parts = (Array.isArray(told) ? told : [told]).flatMap((one) => Object.entries(isObject(field(one, 'changed_pct')) ? (field(one, 'changed_pct') as Record<string, Json>) : {}));
  return parts.filter(([, pct]) => pct !== 0).slice(0, 3).map(([flag, pct]) => `${typeof pct === 'number' ? percent(pct) : '?'} of the sampled askers of ${short(flag, 40)} got something else`).join('; ');
}
