// The fuse of a flag: where it stands, how much evidence there is and what it would take, what it said, and what may be done.
import { Button, Group, Stack, Text } from '@mantine/core';
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { asProblem, flag as readFlag, fuse as readFuse, type Place, type Schemas, type Tagged } from '../api';
import '../flags/flags.css';
import { CircuitChip, Empty, GoneNote, Loaded, Page, Section, TextLink } from '../parts';
import { ArmFuse, TrafficLine } from '../fuse/ArmFuse';
import { CircuitPanel, FuseActions } from '../fuse/CircuitPanel';
import '../fuse/fuse.css';
import { Guardrails } from '../fuse/Guardrails';
import { HealthPanel } from '../fuse/HealthPanel';
import { circuitOf, verdicts as readVerdicts } from '../fuse/reads';
import { SeriesPanel } from '../fuse/SeriesPanel';
import { TripList, VerdictLog } from '../fuse/History';
import type { JsonObject } from '../model/json.ts';
import { useMayEdit } from '../session/session';
import { usePlace } from './place';

export function Fuse() {
  const place = usePlace();
  const { flag: key } = useParams({ from: '/$project/$environment/flags/$flag/fuse' });
  const flag = useQuery({ ...readFlag(place, key), retry: false });
  const circuit = useQuery(circuitOf(place, key));
  const [isArming, setArming] = useState(false);
  const fuse = useQuery({ ...readFuse(place, key), retry: false, enabled: circuit.data != null });
  if (flag.error !== null && flag.data === undefined && asProblem(flag.error).status === 404) return <GoneNote place={place} what={`A flag “${key}”`} />;
  if (circuit.data === null || isArming) return <Loaded query={flag}>{(loaded) => <Unarmed place={place} flag={loaded.data.flag} onSheet={setArming} />}</Loaded>;
  if (circuit.data === undefined) return <Loaded query={circuit} lines={8}>{() => null}</Loaded>;
  return <Loaded query={fuse} lines={8}>{(loaded) => <FuseScreen place={place} flagKey={key} loaded={loaded} flag={flag.data?.data.flag} />}</Loaded>;
}

function Unarmed({ place, flag, onSheet }: { place: Place; flag: Schemas['Flag']; onSheet: (isOpen: boolean) => void }) {
  const mayEdit = useMayEdit(place);
  return (
    <Page title={`Fuse of ${flag.key}`} about={<TextLink size="sm" to="/$project/$environment/flags/$flag" params={{ ...place, flag: flag.key }}>Back to the flag</TextLink>}>
      <Text size="sm">No fuse watches this flag. Armed, it shows the feature to a share of the units, keeps another share as control, compares what both do, and switches the feature off when it harms.</Text>
      {mayEdit ? <ArmFuse place={place} flag={flag} armed={null} onSheet={onSheet} /> : <Empty>Arming takes the role editor in {place.environment}.</Empty>}
    </Page>
  );
}

interface FuseScreenProps { place: Place; flagKey: string; loaded: Tagged<Schemas['FuseAnswer']>; flag: Schemas['Flag'] | undefined }

function FuseScreen({ place, flagKey, loaded, flag }: FuseScreenProps) {
  const fuse = loaded.data;
  const mayEdit = useMayEdit(place);
  // The policy that the edit began from, with its tag: what moves meanwhile is told when it is sent.
  const [edited, setEdited] = useState<{ policy: JsonObject; etag: string | null } | null>(null);
  const log = useInfiniteQuery(readVerdicts(place, flagKey, 100));
  const verdicts = log.data?.pages.flatMap((page) => page.verdicts) ?? [];
  return (
    <Page
      title={`Fuse of ${flagKey}`}
      about={<Group gap="sm"><TextLink size="sm" to="/$project/$environment/flags/$flag" params={{ ...place, flag: flagKey }}>The flag</TextLink><span>{fuse.policy.mode === 'classic' ? 'Classic mode: a rule, not a test.' : 'Looked at after every slot, at a bounded error.'}</span></Group>}
      actions={<CircuitChip circuit={fuse.circuit} />}
    >
      <Stack gap="lg">
        <CircuitPanel fuse={fuse} actions={mayEdit ? <FuseActions place={place} flag={flagKey} fuse={fuse} etag={loaded.etag} /> : null} />
        <Section title="Guardrails" about="Evidence is counted, never a probability."><Guardrails policy={fuse.policy} verdict={verdicts[0]} circuit={fuse.circuit} /></Section>
        {fuse.traffic === undefined ? null : <Section title="What it would catch"><TrafficLine traffic={fuse.traffic} /></Section>}
        <TripList place={place} flag={flagKey} />
        <SeriesPanel place={place} flag={flagKey} policy={fuse.policy} />
        <HealthPanel place={place} flag={flagKey} />
        <Section title="Verdicts"><VerdictLog place={place} flag={flagKey} verdicts={verdicts} hasMore={log.hasNextPage} isLoading={log.isFetchingNextPage} onMore={() => void log.fetchNextPage()} /></Section>
        {!mayEdit || flag === undefined ? null : (
          <Section title="Policy" actions={<Button variant="default" onClick={() => setEdited(edited === null ? { policy: fuse.policy as unknown as JsonObject, etag: loaded.etag } : null)}>{edited !== null ? 'Leave it as it is' : 'Change'}</Button>}>
            {edited !== null ? <ArmFuse place={place} flag={flag} armed={edited} onDone={() => setEdited(null)} /> : <PolicyLine policy={fuse.policy} />}
          </Section>
        )}
      </Stack>
    </Page>
  );
}

function PolicyLine({ policy }: { policy: Schemas['Policy'] }) {
  return <Text size="sm" className="break">{`Serves ${policy.treatment_variation} to the exposed and ${policy.control_variation} to control; ${policy.guardrails.length === 1 ? 'one guardrail' : `${policy.guardrails.length} guardrails`}; ${policy.ramp === undefined ? 'no ramp' : `a ramp that advances by ${policy.ramp.advance ?? 'risk'}`}; cooldown ${policy.cooldown_s ?? 300} s.`}</Text>;
}
