// What addresses carry behind `?`, typed: a reloaded page, a step back and a link that was sent show the same.

type Search<K extends string> = { [name in K]?: string };

/** Reads texts of these names; a number in an address is a text as well. */
const texts = <K extends string>(...names: K[]) => (raw: Record<string, unknown>): Search<K> =>
  Object.fromEntries(names.flatMap((name) => {
    const value = raw[name];
    return (typeof value === 'string' && value !== '') || typeof value === 'number' ? [[name, String(value)]] : [];
  })) as Search<K>;

export const overviewSearch = texts('view');
export const flagsSearch = texts('q', 'sort', 'fuse', 'owner', 'tag', 'state');
/** `as`: whose answer the playground explains. */
export const flagSearch = texts('tab', 'as');
/** `from` and `to` are days in UTC, both of them taken in. */
export const auditSearch = texts('flag', 'actor', 'action', 'subject', 'from', 'to');

export type FlagsSearch = ReturnType<typeof flagsSearch>;
export type AuditSearch = ReturnType<typeof auditSearch>;
