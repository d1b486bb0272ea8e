// Reads that several screens share, each with the key under which its answer is kept: resource, project, environment, and so on.
// The feed refreshes by the first three (`live/apply.ts`).
import { infiniteQueryOptions, queryOptions, useQueries, useQuery } from '@tanstack/react-query';
import { api, data, tagged } from './client';

/** An environment of a project. */
export interface Place {
  project: string;
  environment: string;
}

/** Paths of an environment begin so. */
export const AT = '/v1/projects/{project}/environments/{environment}';

/** A read of an environment; `more` is what else its answer depends on. */
export function read<T>(resource: string, place: Place, ask: (path: Place, signal: AbortSignal) => Promise<T>, ...more: unknown[]) {
  const { project, environment } = place;
  return queryOptions({ queryKey: [resource, project, environment, ...more], queryFn: ({ signal }) => ask({ project, environment }, signal) });
}

/** A list that comes in pages; `ask` is given where the next one begins. */
export function pages<P extends { next: string | null }>(queryKey: readonly unknown[], ask: (cursor: { cursor?: string }, signal: AbortSignal) => Promise<P>) {
  return infiniteQueryOptions({
    queryKey, initialPageParam: '',
    queryFn: ({ pageParam, signal }) => ask(pageParam === '' ? {} : { cursor: pageParam }, signal),
    getNextPageParam: (page: P) => page.next ?? undefined,
  });
}

export const whoami = () => queryOptions({ queryKey: ['whoami'], queryFn: ({ signal }) => data(api.GET('/v1/whoami', { signal })), staleTime: 60_000 });

export const projects = () => queryOptions({ queryKey: ['projects'], queryFn: ({ signal }) => data(api.GET('/v1/projects', { signal })), staleTime: 30_000 });

export const environments = (project: string) =>
  queryOptions({
    queryKey: ['environments', project],
    queryFn: ({ signal }) => data(api.GET('/v1/projects/{project}/environments', { params: { path: { project } }, signal })),
    staleTime: 30_000,
  });

/** All environments that one may see, and how the asking went. */
export function usePlaces(): { places: Place[]; isPending: boolean; error: Error | null; retry: () => void } {
  const list = useQuery(projects());
  const keys = (list.data?.projects ?? []).map(({ key }) => key);
  const within = useQueries({ queries: keys.map((key) => environments(key)) });
  const places = within.flatMap((query, at) => (query.data?.environments ?? []).map(({ key }) => ({ project: keys[at] ?? '', environment: key })));
  const error = list.error ?? within.find((query) => query.error !== null)?.error ?? null;
  return { places, isPending: list.isPending || within.some((query) => query.isPending), error, retry: () => void list.refetch() };
}

export const overview = () => queryOptions({ queryKey: ['overview'], queryFn: ({ signal }) => data(api.GET('/v1/overview', { signal })) });

export const propagation = (place: Place) => read('propagation', place, (path, signal) => data(api.GET(`${AT}/propagation`, { params: { path }, signal })));

/** Kept with `propagation`: what moves one moves the other. */
export const arrivals = (place: Place) => read('propagation', place, (path, signal) => data(api.GET(`${AT}/arrivals`, { params: { path, query: { limit: 40 } }, signal })), 'arrivals');

export const notices = (place: Place) => read('notices', place, (path, signal) => data(api.GET(`${AT}/notices`, { params: { path }, signal })));

export const change = (place: Place, version: string) =>
  read('change', place, (path, signal) => data(api.GET(`${AT}/changes/{version}`, { params: { path: { ...path, version } }, signal })), version);

export const fuses = (place: Place) => read('fuses', place, (path, signal) => data(api.GET(`${AT}/fuses`, { params: { path }, signal })));

export const fuse = (place: Place, flag: string) =>
  read('fuse', place, (path, signal) => tagged(api.GET(`${AT}/flags/{flag}/fuse`, { params: { path: { ...path, flag } }, signal })), flag);

export const flag = (place: Place, flag: string) =>
  read('flag', place, (path, signal) => tagged(api.GET(`${AT}/flags/{flag}`, { params: { path: { ...path, flag } }, signal })), flag);

export const slos = (place: Place) => read('slos', place, (path, signal) => data(api.GET(`${AT}/slos`, { params: { path }, signal })));

export const telemetryHealth = (place: Place) =>
  read('telemetry-health', place, (path, signal) => data(api.GET(`${AT}/telemetry-health`, { params: { path }, signal })));

export const metricsSeen = (place: Place) => read('metrics-seen', place, (path, signal) => data(api.GET(`${AT}/metrics-seen`, { params: { path }, signal })));

export const recentChanges = (place: Place, limit: number) =>
  read('audit', place, (path, signal) => data(api.GET(`${AT}/audit`, { params: { path, query: { limit } }, signal })), { limit });
