// Reads and changes of one flag.
import { queryOptions } from '@tanstack/react-query';
import { api, AT, type ChangeHeaders, data, pages, type Place, read, type Schemas, type Tagged, tagged } from '../api';
import { pathOf } from '../fuse/reads';
import type { FlagsSearch } from '../routes/search';
import { mergePatch } from '../model/diff.ts';
import type { JsonObject } from '../model/json.ts';

export const FLAG = `${AT}/flags/{flag}` as const;

export type Rehearsed = Schemas['Rehearsal'] & Schemas['FlagHints'];
export type Stored = Schemas['Made'] & Schemas['FlagHints'];

export interface Edit {
  key: string;
  base: JsonObject;
  doc: JsonObject;
  /** Of the project: then the environment's override is written, and the flag goes on following its project. */
  isInherited: boolean;
}

/** A new definition, whole; of an inherited flag what the environment changes of it. */
function send(place: Place, edit: Edit, headers: ChangeHeaders, dryRun: boolean) {
  const params = { path: pathOf(place, edit.key), query: dryRun ? { dry_run: true } : {} };
  if (edit.isInherited) return api.PATCH(FLAG, { params, headers, body: mergePatch(edit.base, edit.doc) as never });
  const enabled = edit.doc.enabled === undefined && edit.base.enabled === false ? { enabled: true } : {};
  return api.PUT(FLAG, { params, headers, body: { ...edit.doc, ...enabled } as never });
}

export async function rehearse(place: Place, edit: Edit, etag: string | null): Promise<Rehearsed> {
  return (await data(send(place, edit, etag === null ? {} : { 'if-match': etag }, true))) as Rehearsed;
}

export async function publish(place: Place, edit: Edit, headers: ChangeHeaders): Promise<Tagged<Stored>> {
  return (await tagged(send(place, edit, headers, false))) as Tagged<Stored>;
}

export async function create(place: Place, doc: JsonObject): Promise<Tagged<Stored>> {
  return (await tagged(api.PUT(FLAG, { params: { path: pathOf(place, String(doc.key)) }, headers: { 'if-none-match': '*' }, body: doc as never }))) as Tagged<Stored>;
}

/** Off for everybody, at once: no tag, no question. */
export async function switchOff(place: Place, flag: string, headers: ChangeHeaders = {}): Promise<Schemas['Made']> {
  return (await data(api.POST(`${FLAG}/off`, { params: { path: pathOf(place, flag) }, headers, body: {} }))) as Schemas['Made'];
}

export async function switchOn(place: Place, flag: string, headers: ChangeHeaders): Promise<Schemas['Made']> {
  return (await data(api.POST(`${FLAG}/on`, { params: { path: pathOf(place, flag) }, headers, body: {} }))) as Schemas['Made'];
}

/** Who would get something else if it were switched, from the state with this tag. */
export const switchRehearsal = (place: Place, flag: string, to: 'on' | 'off', etag: string | null) =>
  read('switch', place, async (_, signal) => {
    const request = { params: { path: pathOf(place, flag), query: { dry_run: true } }, headers: etag === null ? {} : { 'if-match': etag }, body: {}, signal };
    return (await data(to === 'on' ? api.POST(`${FLAG}/on`, request) : api.POST(`${FLAG}/off`, request))) as Schemas['Rehearsal'];
  }, flag, to, etag);

/** With an edit, what it would answer beside what the published flag answers. */
export async function explain(place: Place, flag: string, context: JsonObject, draft: JsonObject | null): Promise<Schemas['Explanation']> {
  return data(api.POST('/v1/explain', { body: { ...place, flag, context, ...(draft === null ? {} : { draft }) } as never }));
}

/** A row of the list, as the server finds, filters and puts it into words. */
export type FlagRow = Schemas['FlagListRow'];

const PAGE = 200;

export const flagRows = ({ project, environment }: Place, search: FlagsSearch) =>
  pages(['flags', project, environment, search], (from, signal) => {
    const { fuse, ...asked } = search;
    const query = { limit: PAGE, ...asked, ...(fuse === undefined ? {} : { circuit: fuse }), ...from };
    return data(api.GET(`${AT}/flag-rows`, { params: { path: { project, environment }, query: query as never }, signal }));
  });

/** What people say of a flag in all environments of its project. */
export type Details = Schemas['FlagDetails'];
export const NO_DETAILS: Details = { name: '', description: '', owner: '', tags: [], kind: null, expires_ms: null, archived: false };

const DETAILS = '/v1/projects/{project}/flag-details' as const;

/** All details of a project, by flag: flags of which nothing is said are missing. */
export const detailsOf = (project: string, q?: string) =>
  queryOptions({
    queryKey: ['flag-details', project, undefined, q],
    queryFn: async ({ signal }): Promise<ReadonlyMap<string, Schemas['FlagDetailsAnswer']>> => {
      const found = new Map<string, Schemas['FlagDetailsAnswer']>();
      let cursor: string | null = null;
      do {
        const query = { limit: 1000, ...(q === undefined ? {} : { q }), ...(cursor === null ? {} : { cursor }) };
        const page: Schemas['FlagDetailsList'] = await data(api.GET(DETAILS, { params: { path: { project }, query }, signal }));
        for (const one of page.flag_details) found.set(one.flag, one);
        cursor = page.next;
      } while (cursor !== null);
      return found;
    },
  });

/** Over the state that was read: its revision counts like a tag. */
export async function saveDetails(project: string, flag: string, details: Details, known: Schemas['FlagDetailsAnswer'] | undefined): Promise<unknown> {
  const params = { path: { project, flag } };
  if (known === undefined) return data(api.PUT(`${DETAILS}/{flag}`, { params, headers: { 'if-none-match': '*' }, body: details }));
  return data(api.PUT(`${DETAILS}/{flag}`, { params, body: { details, revision: known.revision } as never }));
}

export async function copyTo(place: Place, flag: string, environment: string, headers: Record<string, string>, dryRun: boolean): Promise<Schemas['Made'] | Schemas['Rehearsal']> {
  return (await data(api.POST(`${FLAG}/copy-to`, { params: { path: { ...place, flag }, query: dryRun ? { dry_run: true } : {} }, headers, body: { environment } }))) as Schemas['Made'] | Schemas['Rehearsal'];
}
