// The story of a trip at its own address: why, when, how many people saw it, whether it is off everywhere, what comes next.
import { Button, Group, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useParams } from '@tanstack/react-router';
import { Printer } from 'lucide-react';
import { asProblem, fuse as readFuse, type Place, type Schemas } from '../api';
import '../flags/flags.css';
import { CopyIcon, GoneNote, Loaded, Page, Section, TextLink, Time } from '../parts';
import '../fuse/fuse.css';
import { Arms } from '../fuse/Guardrails';
import { trip as readTrip } from '../fuse/reads';
import { movesOf, reasonInWords } from '../model/fuse.ts';
import { headline, isEverywhere, offInWords, peopleInWords, stepsOf } from '../model/trip.ts';
import { change, counted, interval } from '../model/words.ts';
import { circuitName } from '../pictures/Circuit.tsx';
import { TripWaterfall } from '../pictures/TripWaterfall.tsx';
import { usePlace } from './place';

export function Trip() {
  const place = usePlace();
  const { flag, trip } = useParams({ from: '/$project/$environment/flags/$flag/fuse/trips/$trip' });
  const query = useQuery(readTrip(place, flag, trip));
  if (query.error !== null && query.data === undefined && asProblem(query.error).status === 404) return <GoneNote place={place} what={`A trip ${trip} of the flag “${flag}”`} />;
  return <Loaded query={query} lines={8}>{(story) => <Story place={place} story={story} />}</Loaded>;
}

function Story({ place, story }: { place: Place; story: Schemas['TripStory'] }) {
  const params = { ...place, flag: story.flag };
  return (
    <Page
      title={`Trip ${story.number} of ${story.flag}`}
      about={<Group gap="sm"><TextLink size="sm" to="/$project/$environment/flags/$flag/fuse" params={params}>The fuse</TextLink><TextLink size="sm" to="/$project/$environment/flags/$flag" params={params}>The flag</TextLink><span>{place.project} / {place.environment}</span></Group>}
      actions={<Group gap="xs" className="no-print"><CopyIcon value={window.location.href} label="Copy the link" /><Button variant="default" leftSection={<Printer size={14} />} onClick={() => window.print()}>Print</Button></Group>}
    >
      <Stack gap="lg">
        <div role="status" aria-live="polite" data-trip={isEverywhere(story) ? 'everywhere' : 'travelling'}>
          <Text className="sentence break" component="p" m={0}><b><bdi>{headline(story)}</bdi></b> {peopleInWords(story)} {offInWords(story)}</Text>
        </div>
        <Section title="From the first exposure to off everywhere" about="Times are UTC; beside each its distance to the decision.">
          <div className="surface" style={{ padding: '14px 18px' }}><TripWaterfall steps={stepsOf(story)} /></div>
          {story.is_compacted ? <Text size="xs" c="dimmed">The counts of that time have been added up since, so the first harmful event and the last evidence are known no more.</Text> : null}
        </Section>
        <Section title="Why">
          <Text size="sm" className="break">{story.summary ?? (story.metrics.length > 0 ? 'The verdict is kept no more; its numbers are in the audit trail.' : <>A person tripped it{story.note === null || story.note === '' ? ', without a reason.' : <>: <bdi>{story.note}</bdi></>}</>)}</Text>
          <div className="cards">{story.evidence.map((one) => <Found key={`${one.metric}${one.anytime?.slice ?? ''}`} evidence={one} isBlamed={story.metrics.includes(one.metric)} />)}</div>
          {story.metrics.length > 0 ? <Text size="xs" c="dimmed">The effect at a trip is overstated: a fuse trips when it happens to look large.</Text> : null}
        </Section>
        <Next place={place} story={story} />
        <Section title="Where it is written">
          <Group gap="md">
            <TextLink size="sm" to="/$project/$environment/audit" params={place} search={{ flag: story.flag }}>{`Audit entry ${story.audit_id}`}</TextLink>
            {story.version === null ? null : <TextLink size="sm" to="/$project/$environment/changes/$version" params={{ ...place, version: story.version }}>{`Receipts of ${story.version}`}</TextLink>}
            {story.verdict_id === null ? null : <Text size="sm">{`Verdict ${story.verdict_id}`}</Text>}
            <Text size="sm" c="dimmed">{counted(story.people.control, 'unit')} kept as control</Text>
          </Group>
        </Section>
      </Stack>
    </Page>
  );
}

function Found({ evidence, isBlamed }: { evidence: Schemas['GuardrailEvidence']; isBlamed: boolean }) {
  return (
    <Stack gap={6} className="surface" p="md" component="section" aria-label={`Evidence of ${evidence.metric}`}>
      <Text fw={600}><bdi>{evidence.metric}</bdi>{evidence.anytime?.slice === undefined ? '' : ` of ${evidence.anytime.slice}`}{isBlamed ? ' — tripped it' : ''}</Text>
      <Text size="sm">Change <b className="num">{change(evidence.anytime === undefined ? evidence.delta : evidence.anytime.change)}</b>{evidence.anytime === undefined ? null : <Text span size="sm" c="dimmed" className="num"> ({interval(evidence.anytime.interval)})</Text>}</Text>
      <Arms evidence={evidence} />
    </Stack>
  );
}

/** How it went on; while it has not, what would move it. */
function Next({ place, story }: { place: Place; story: Schemas['TripStory'] }) {
  const fuse = useQuery({ ...readFuse(place, story.flag), retry: false, enabled: story.ended === null });
  return (
    <Section title="What came next">
      {story.ended !== null ? <Text size="sm" className="break">{`It went to ${circuitName(story.ended.to)} at `}<Time ms={story.ended.at_ms} /> by <bdi>{story.ended.actor}</bdi>{story.ended.note === null || story.ended.note === '' ? <>: {reasonInWords(story.ended.reason)}</> : <>: <bdi>{story.ended.note}</bdi></>}</Text> : story.slices.length > 0 ? (
        <Text size="sm">The rest of the units go on in an attempt of their own. To try these again, take the rule away that withholds it from them.</Text>
      ) : fuse.data === undefined ? <Text size="sm" c="dimmed">It is open.</Text> : (
        <ul className="bare-list">{movesOf(fuse.data.data).map((move) => <li key={move.to}><Text size="sm"><b>To {circuitName(move.to)}</b> {move.words}</Text></li>)}</ul>
      )}
    </Section>
  );
}
