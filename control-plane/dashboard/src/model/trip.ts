// The story of a trip in words and steps: what happened when, who saw it, and whether it is off everywhere.
import type { Schemas } from '../api';
import { change, clock, count, duration, percent } from './words.ts';

export interface Step { id: string; title: string; at_ms: number | null; tone: 'harm' | 'good' | 'plain' }

const TITLES: Record<string, [string, Step['tone']]> = {
  first_exposure: ['First exposure', 'plain'], first_harm: ['First harmful event', 'harm'], evidence_complete: ['Evidence complete', 'harm'],
  committed: ['Switched off and signed', 'plain'], stored: ['Stored', 'good'], guaranteed_live: ['Off everywhere, guaranteed', 'good'],
};

/** What happened in order; what a trip still waits for stands at the end without a time. */
export function stepsOf(story: Schemas['TripStory']): Step[] {
  const steps = story.steps.map<Step>(({ step, at_ms, region }) => {
    const [title, tone] = TITLES[step] ?? [step.replaceAll('_', ' '), 'plain'];
    return { id: region === undefined ? step : `${step}-${region}`, title: region === undefined ? title : `${title} in ${region}`, at_ms, tone };
  });
  if (story.version === null || isEverywhere(story)) return steps;
  return [...steps, { id: 'guaranteed_live', title: 'Off everywhere, guaranteed', at_ms: null, tone: 'good' }];
}

export function isEverywhere(story: Schemas['TripStory']): boolean {
  return story.steps.some((step) => step.step === 'guaranteed_live');
}

export function headline(story: Schemas['TripStory']): string {
  const harmed = story.metrics.map((metric) => {
    const found = story.evidence.find((one) => one.metric === metric);
    return found === undefined ? metric : `${metric} ${change(found.anytime?.change ?? found.delta)}`;
  });
  const who = story.actor === 'fuse' ? 'the fuse tripped' : `${story.actor.replace(/^user:/, '')} tripped the fuse`;
  const from = story.slices.length === 0 ? '' : ` for ${story.slices.map((slice) => `${slice.attribute} ${slice.value}`).join(' and ')} alone`;
  const why = harmed.length > 0 ? `: ${harmed.join(', ')} against control` : story.note == null || story.note === '' ? '' : `: ${story.note}`;
  return `At ${clock(story.at_ms)} UTC ${who}${from}${why}.`;
}

export function peopleInWords(story: Schemas['TripStory']): string {
  const { exposed, eligible_estimate: eligible } = story.people;
  if (exposed === 0) return 'Nobody is known to have seen it.';
  if (eligible === null || eligible === 0) return `${count(exposed)} people saw it.`;
  return `${count(exposed)} of about ${count(eligible)} eligible people saw it (${percent(Math.round((exposed / eligible) * 10_000) / 100)}).`;
}

export function offInWords(story: Schemas['TripStory']): string {
  const end = story.steps.find((step) => step.step === 'guaranteed_live');
  const receipts = `${story.replicas_acked} of ${story.replicas_total} replicas`;
  if (story.version === null) return 'Nothing that is served changed with it.';
  if (end !== undefined) return `It is off everywhere: ${receipts}, guaranteed ${duration(end.at_ms - story.at_ms)} after it was decided.`;
  return story.replicas_total === 0 ? 'No replica is connected, so nothing tells where it is off.' : `${receipts} have it so far.`;
}
