// Reads and changes of one fuse.
import { queryOptions } from '@tanstack/react-query';
import { api, AT, type ChangeHeaders, data, pages, type Place, read, type Schemas, type Tagged, tagged } from '../api';
import type { JsonObject } from '../model/json.ts';
import { isEverywhere } from '../model/trip.ts';

export const FUSE = `${AT}/flags/{flag}/fuse` as const;

export const pathOf = (place: Place, flag: string) => ({ project: place.project, environment: place.environment, flag });

/** The circuit of a flag's fuse, or null where it has none: asked of the list, which is never "not found". */
export const circuitOf = (place: Place, flag: string) =>
  read('fuses', place, async (path, signal) => (await data(api.GET(`${AT}/fuses`, { params: { path, query: { q: flag } }, signal }))).fuses.find((one) => one.flag === flag)?.circuit ?? null, flag);

export type FuseAction = 'trip' | 'half-open' | 'close' | 'reset' | 'advance' | 'hold' | 'resume';
export type ActedOn = Schemas['Made'] & Schemas['ChangeNotes'];

/** Trip and hold need no tag: nothing may hold them up. */
export async function act(place: Place, flag: string, action: FuseAction, reason: string, headers: ChangeHeaders): Promise<ActedOn> {
  const body = reason.trim() === '' ? {} : { reason: reason.trim() };
  return (await data(api.POST(`${FUSE}/{action}`, { params: { path: { ...pathOf(place, flag), action } }, headers, body }))) as ActedOn;
}

export const actRehearsal = (place: Place, flag: string, action: FuseAction, etag: string | null) => ({
  ...read('fuse-rehearsal', place, async (_, signal) => {
    const params = { path: { ...pathOf(place, flag), action }, query: { dry_run: true } };
    return (await data(api.POST(`${FUSE}/{action}`, { params, headers: etag === null ? {} : { 'if-match': etag }, body: {}, signal }))) as Schemas['Rehearsal'];
  }, flag, action, etag),
  retry: false,
  gcTime: 0,
});

export const verdicts = (place: Place, flag: string, limit: number) =>
  pages(['verdicts', place.project, place.environment, flag, limit], (from, signal) => data(api.GET(`${AT}/flags/{flag}/verdicts`, { params: { path: pathOf(place, flag), query: { limit, ...from } }, signal })));

export const flagHealth = (place: Place, flag: string) =>
  read('telemetry-health', place, async (path, signal) => {
    const health = await data(api.GET(`${AT}/telemetry-health`, { params: { path, query: { q: flag } }, signal }));
    return { completeUpToMs: health.complete_up_to_ms, buffersBehind: health.buffers_behind, flag: health.flags.find((one) => one.flag === flag) ?? null };
  }, flag);

export const trips = (place: Place, flag: string) => read('trip', place, (_, signal) => data(api.GET(`${FUSE}/trips`, { params: { path: pathOf(place, flag), query: { limit: 20 } }, signal })), flag, 'all');

const ASK_MS = 1000;

/** Asked again each second until it is off everywhere. */
export const trip = (place: Place, flag: string, number: string) =>
  queryOptions({
    ...read('trip', place, (_, signal) => data(api.GET(`${FUSE}/trips/{trip}`, { params: { path: { ...pathOf(place, flag), trip: number } }, signal })), flag, number),
    retry: false,
    refetchInterval: ({ state }) => (state.data === undefined || state.data.version === null || isEverywhere(state.data) || state.dataUpdateCount > 120 ? false : ASK_MS),
  });

export type Hints = Schemas['PolicyHints'] & { attempt?: Schemas['AttemptNote'] };

/** What a lint and a rehearsal have in common. */
export type Findings = Pick<Schemas['LintAnswer'], 'lint' | 'traffic'> & { notes?: string[] };

export async function lint(place: Place, flag: string, policy: JsonObject, signal: AbortSignal): Promise<Schemas['LintAnswer']> {
  return data(api.POST(`${FUSE}/lint`, { params: { path: pathOf(place, flag) }, body: policy as never, signal }));
}

export async function rehearseWeek(place: Place, flag: string, policy: JsonObject, etag: string | null): Promise<Schemas['RehearsalAnswer']> {
  return data(api.POST(`${FUSE}/rehearse`, { params: { path: pathOf(place, flag) }, headers: etag === null ? {} : { 'if-match': etag }, body: policy as never }));
}

export async function rehearseArming(place: Place, flag: string, policy: JsonObject, headers: ChangeHeaders): Promise<Schemas['Rehearsal'] & Hints> {
  return (await data(api.PUT(FUSE, { params: { path: pathOf(place, flag), query: { dry_run: true } }, headers, body: policy as never }))) as Schemas['Rehearsal'] & Hints;
}

export async function arm(place: Place, flag: string, policy: JsonObject, headers: ChangeHeaders): Promise<Tagged<Schemas['Made'] & Hints>> {
  return (await tagged(api.PUT(FUSE, { params: { path: pathOf(place, flag) }, headers, body: policy as never }))) as Tagged<Schemas['Made'] & Hints>;
}

export interface Point { atMs: number; change: number | null; lower: number | null; upper: number | null }

export interface Series {
  metric: string;
  threshold: number;
  points: Point[];
  /** When stages began, and what moved the fuse: drawn as lines across. */
  marks: { atMs: number; text: string }[];
}

const POINTS = 240;
const ACTIONS: Record<string, string> = { trip: 'trip', half_open: 'probe', close: 'closed', advance: 'next stage' };

/** What was counted at each step of an attempt, with what the fuse found by then. */
export const series = (place: Place, flag: string, thresholds: ReadonlyMap<string, number>) =>
  read('series', place, async (_, signal): Promise<Series[]> => {
    const told = await data(api.GET(`${FUSE}/series`, { params: { path: pathOf(place, flag), query: { points: POINTS } }, signal }));
    const marks = [
      ...told.stages.map((stage) => ({ atMs: stage.began_ms, text: `stage ${stage.stage}` })),
      ...told.verdicts.filter((verdict) => Object.hasOwn(ACTIONS, verdict.decision) && verdict.decision !== 'advance').map((verdict) => ({ atMs: verdict.at_ms, text: ACTIONS[verdict.decision] ?? verdict.decision })),
    ];
    return told.guardrails.map(({ metric, points }) => {
      const found = told.verdicts.flatMap((verdict) => verdict.guardrails.filter((one) => one.metric === metric && one.change !== null).map((one) => ({ atMs: verdict.at_ms, change: one.change, lower: one.lower, upper: one.upper })));
      // The counts reach further back than the verdicts that are kept; where both are, the verdict is what was decided by.
      const before = points.filter((point) => found[0] === undefined || point.at_ms < found[0].atMs).map((point) => ({ atMs: point.at_ms, change: point.delta, lower: null, upper: null }));
      return { metric, threshold: thresholds.get(metric) ?? 0, points: [...before, ...found], marks };
    }).filter((line) => line.points.some((point) => point.change !== null));
  }, flag);
