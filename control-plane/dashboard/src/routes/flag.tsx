// One flag: what it does in a sentence, its rail, a playground beside it, and one way to save.
import { Alert, Group, Stack, Tabs, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useNavigate, useParams, useSearch } from '@tanstack/react-router';
import { memo, useCallback, useDeferredValue, useMemo, useState } from 'react';
import { asProblem, flag as readFlag, type Place, type Problem, type Schemas, type Tagged } from '../api';
import { About } from '../flags/About';
import { AuditList } from '../flags/AuditList';
import { useDraft, useRehearsal } from '../flags/draft';
import { Environments } from '../flags/Environments';
import { circuitOf } from '../fuse/reads';
import { FaultsProvider, useUnread } from '../flags/faults';
import '../flags/flags.css';
import { Ago, ButtonLink, CircuitChip, GoneNote, Loaded, Page, Section, TextLink } from '../parts';
import { JsonTab } from '../flags/JsonTab';
import { KillButton } from '../flags/Switch';
import { Playground } from '../flags/Playground';
import { Rail, type Lit } from '../flags/Rail';
import { MergeSheet, ReviewSheet, SaveBar } from '../flags/Saving';
import { VariationsEditor } from '../flags/StopEditors';
import { asDocument, asFlag } from '../model/edits.ts';
import { field, isObject, type Json, type JsonObject } from '../model/json.ts';
import { unknownParts } from '../model/shape.ts';
import { sentenceOf, stopsOf, type StopId } from '../model/stops.ts';
import type { Flag as FlagDocument } from '../model/types.ts';
import { useMayEdit } from '../session/session';
import { usePlace } from './place';

export function Flag() {
  const place = usePlace();
  const { flag: key } = useParams({ from: '/$project/$environment/flags/$flag' });
  const query = useQuery({ ...readFlag(place, key), retry: (times, error) => asProblem(error).status !== 404 && times < 2 });
  if (query.error !== null && query.data === undefined && asProblem(query.error).status === 404) return <GoneNote place={place} what={`A flag “${key}”`} />;
  return <Loaded query={query} lines={8}>{(loaded) => <FlagScreen key={`${place.project}/${place.environment}/${key}`} place={place} flagKey={key} loaded={loaded} />}</Loaded>;
}

interface FlagScreenProps { place: Place; flagKey: string; loaded: Tagged<Schemas['EnvironmentFlag']> }

type Sheet = 'review' | 'merge' | null;

function FlagScreen({ place, flagKey, loaded }: FlagScreenProps) {
  const navigate = useNavigate({ from: '/$project/$environment/flags/$flag' });
  const { tab: named = 'targeting', as } = useSearch({ from: '/$project/$environment/flags/$flag' });
  const tab = Object.hasOwn(TABS, named) ? named : 'targeting';
  const goToTab = useCallback((next: string | null) => void navigate({ search: next === null || next === 'targeting' ? {} : { tab: next } }), [navigate]);
  const draft = useDraft(place, flagKey, loaded);
  const unread = useUnread();
  const mayEdit = useMayEdit(place);
  const unknown = useMemo(() => unknownParts(loaded.data.flag as unknown as Json), [loaded.data.flag]);
  const isDisabled = !mayEdit || unknown.length > 0;
  const isInherited = loaded.data.inherited === true;
  const [isPublishing, setPublishing] = useState(false);
  const rehearsal = useRehearsal(place, flagKey, draft, isInherited, mayEdit && unread.count === 0, isPublishing || draft.isBehind);
  const [sheet, setSheet] = useState<Sheet>(null);
  const [theirs, setTheirs] = useState<{ doc: JsonObject; etag: string | null } | null>(null);
  const [open, setOpen] = useState<ReadonlySet<StopId>>(() => new Set<StopId>(['rules', 'default', ...stopsOf(asFlag(loaded.data.flag)).filter((stop) => stop.used && (stop.id === 'targets' || stop.id === 'cohort')).map((stop) => stop.id)]));
  const [lit, setLit] = useState<Lit | null>(null);
  const [tried, setTried] = useState<{ context: JsonObject; times: number } | null>(null);
  const asker = useMemo(() => (as === undefined ? null : { targetingKey: as }), [as]);
  const fuse = useQuery(circuitOf(place, flagKey));
  const circuit = fuse.data ?? undefined;

  const toggle = useCallback((stop: StopId) => setOpen((old) => { const next = new Set(old); if (!next.delete(stop)) next.add(stop); return next; }), []);
  const goTo = useCallback((stop: StopId) => {
    setOpen((old) => new Set(old).add(stop));
    void navigate({ search: (old) => ({ ...old, tab: undefined }) });
    requestAnimationFrame(() => document.querySelector<HTMLElement>(`#stop-${stop} .stop-head`)?.focus());
  }, [navigate]);
  // What stands beside the field that somebody types in follows a frame later.
  const asked = useDeferredValue(draft.flag);
  const edited = useDeferredValue(draft.isDirty && rehearsal.answer !== null ? draft.doc : null);
  const stale = (problem: Problem) => {
    const current = field(problem.body.current as Json | undefined, 'flag');
    setTheirs(isObject(current) ? { doc: current, etag: problem.body.etag ?? problem.etag } : null);
    setSheet('merge');
  };
  const there = theirs ?? { doc: asDocument(asFlag(loaded.data.flag)), etag: loaded.etag };
  // A review of what is no longer there would wait for ever: it turns into the merge.
  const shown: Sheet = sheet === 'review' && draft.isBehind && !isPublishing ? 'merge' : sheet;
  const leave = () => { setSheet(null); setTheirs(null); };

  return (
    <Page
      title={flagKey}
      about={<FlagAbout loaded={loaded.data} description={draft.flag.description} />}
      actions={<FlagActions place={place} flagKey={flagKey} mayEdit={mayEdit} isOn={loaded.data.flag.enabled !== false} isArmed={fuse.data !== null} circuit={circuit} />}
    >
      <Stack gap="md">
        <Sentence flag={asFlag(loaded.data.flag)} environment={place.environment} circuit={circuit} onStop={goTo} />
        {isInherited ? <Alert color="blue" py="xs">This flag is its project’s. What you change here is kept as {place.environment}’s override, and it goes on following the project.</Alert> : null}
        {unknown.length > 0 ? <Alert color="yellow" py="xs">This page is older than the flag: it does not know {unknown.join(', ')}. So it shows the flag and lets nobody edit it here; nothing is dropped. Switching off works.</Alert> : null}
        {mayEdit ? null : <Text size="sm" c="dimmed">You may look. Changing flags takes the role editor in {place.environment}.</Text>}
        <FaultsProvider server={rehearsal.faults} unread={unread}>
          <FlagTabs tab={tab} onTab={goToTab} />
          <div role="tabpanel" id={`flag-panel-${tab}`} aria-labelledby={`flag-tab-${tab}`}>
            {tab === 'targeting' ? (
              <div className="two">
                <Rail place={place} flag={draft.flag} edit={draft.edit} isDisabled={isDisabled} open={open} onToggle={toggle} lit={draft.isDirty ? null : lit} />
                <div className="beside"><Playground key={`${tried?.times ?? 0}/${as ?? ''}`} place={place} flag={asked} draft={edited} given={tried?.context ?? asker} onLit={setLit} /></div>
              </div>
            ) : null}
            {tab === 'variations' ? <Section title="Variations" about="A name that something serves stays as it is."><VariationsEditor flag={draft.flag} edit={draft.edit} isDisabled={isDisabled} /></Section> : null}
            {tab === 'environments' ? <Environments place={place} flagKey={flagKey} /> : null}
            {tab === 'about' ? <About place={place} flagKey={flagKey} /> : null}
            {tab === 'json' ? <JsonTab doc={draft.doc} flagKey={flagKey} isDisabled={isDisabled} onChange={draft.replace} /> : null}
            {tab === 'history' ? <AuditList place={place} search={{ flag: flagKey }} showsFlag={false} /> : null}
          </div>
          <SaveBar draft={draft} unread={unread.count} rehearsal={rehearsal} onReview={() => setSheet(draft.isBehind ? 'merge' : 'review')} onMerge={() => setSheet('merge')} />
        </FaultsProvider>
        {shown === 'review' ? <ReviewSheet place={place} flagKey={flagKey} draft={draft} isInherited={isInherited} rehearsal={rehearsal} onTry={(context) => setTried((old) => ({ context, times: (old?.times ?? 0) + 1 }))} onStale={stale} onSending={setPublishing} onClose={leave} /> : null}
        {shown === 'merge' ? (
          <MergeSheet
            base={draft.base} yours={draft.doc} theirs={there.doc} onClose={leave} onDiscard={() => { draft.discard(); leave(); }}
            onTake={(result) => { draft.rebase(there.doc, there.etag, result); leave(); setSheet('review'); }}
          />
        ) : null}
      </Stack>
    </Page>
  );
}

const TABS = { targeting: 'Targeting', variations: 'Variations', environments: 'Environments', about: 'About', json: 'JSON', history: 'History' };

/** Apart from what they show: they are not drawn anew with each keystroke in it. */
const FlagTabs = memo(function FlagTabs({ tab, onTab }: { tab: string; onTab: (tab: string | null) => void }) {
  return (
    <Tabs id="flag" value={tab} onChange={onTab}>
      <Tabs.List mb="md">{Object.entries(TABS).map(([name, label]) => <Tabs.Tab key={name} value={name}>{label}</Tabs.Tab>)}</Tabs.List>
    </Tabs>
  );
});

interface SentenceProps { flag: FlagDocument; environment: string; circuit: Schemas['Circuit'] | undefined; onStop: (stop: StopId) => void }

/** What the flag does, in plain words; each clause leads to the stop that says so. */
const Sentence = memo(function Sentence({ flag, environment, circuit, onStop }: SentenceProps) {
  return (
    <Text className="sentence break" component="p" m={0}>
      {sentenceOf(flag, environment, circuit).map((clause, at) => {
        const text = clause.strong === true ? <b>{clause.text}</b> : clause.text;
        return (
          <span key={`${clause.stop}${at}`}>
            {at === 0 ? '' : ' '}
            <a href={`#stop-${clause.stop}`} onClick={(event) => { event.preventDefault(); onStop(clause.stop); }}><bdi>{text}</bdi></a>
          </span>
        );
      })}
    </Text>
  );
});

const FlagAbout = memo(function FlagAbout({ loaded, description }: { loaded: Schemas['EnvironmentFlag']; description: string | undefined }) {
  return (
    <Group gap="xs">
      <bdi>{loaded.details?.description || description || 'No description.'}</bdi>
      {loaded.details?.owner ? <Text span size="sm">Owner <bdi>{loaded.details.owner}</bdi></Text> : null}
      <Text span size="sm" c="dimmed">Changed <Ago ms={loaded.updated_ms} /></Text>
    </Group>
  );
});

interface FlagActionsProps {
  place: Place;
  flagKey: string;
  mayEdit: boolean;
  isOn: boolean;
  /** Also while that is not known. */
  isArmed: boolean;
  circuit: Schemas['Circuit'] | undefined;
}

const FlagActions = memo(function FlagActions({ place, flagKey, mayEdit, isOn, isArmed, circuit }: FlagActionsProps) {
  const params = { ...place, flag: flagKey };
  return (
    <>
      {circuit === undefined ? null : <TextLink to="/$project/$environment/flags/$flag/fuse" params={params} size="sm">Fuse <CircuitChip circuit={circuit} /></TextLink>}
      {!isArmed && mayEdit ? <ButtonLink variant="default" to="/$project/$environment/flags/$flag/fuse" params={params}>Arm a fuse</ButtonLink> : null}
      {mayEdit ? <KillButton place={place} flagKey={flagKey} isOn={isOn} /> : null}
    </>
  );
});
