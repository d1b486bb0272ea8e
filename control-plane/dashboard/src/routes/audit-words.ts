// Who did what, in one line: rows of the audit trail as sentences, for lists that are not the trail itself.
import type { Schemas } from '../api';
import words from './audit-words.json';

/** What an action did to its subject; `%` is the subject. */
const DID: Record<string, string> = words;

export function actorName(actor: string): string {
  const [kind, ...name] = actor.split(':');
  if (kind === 'user') return name.join(':');
  if (kind === 'token') return `token “${name.join(':')}”`;
  if (kind === 'job') return `the job ${name.join(':')}`;
  if (actor === 'fuse') return 'the fuse';
  return actor;
}

export function summary(entry: Schemas['Entry']): string {
  if (entry.actor === 'fuse' && entry.action === 'fuse.transition') return `The fuse of ${entry.subject} ${MOVED[toCircuit(entry)] ?? 'moved'}`;
  const moved = entry.action === 'fuse.transition' ? MOVED[toCircuit(entry)] : undefined;
  const did = moved !== undefined ? `${moved} the fuse of %` : DID[entry.action] ?? `${entry.action} %`;
  const line = `${actorName(entry.actor)} ${did.replace('%', nameOf(entry))}`;
  // A person's name stays as it is.
  return entry.actor.startsWith('user:') ? line : line.charAt(0).toUpperCase() + line.slice(1);
}

/** A transition says where the fuse went. */
const MOVED: Record<string, string> = { OPEN: 'tripped', HALF_OPEN: 'half-opened', CLOSED: 'closed' };

const toCircuit = (entry: Schemas['Entry']) => String((entry.detail as { to?: unknown } | null)?.to ?? '');

/** Tokens are called by their names, not by what tells them apart. */
function nameOf(entry: Schemas['Entry']): string {
  const name = (entry.detail as { name?: unknown } | null)?.name;
  return entry.action.startsWith('token.') && typeof name === 'string' ? `“${name}”` : entry.subject;
}

/** The version that a change made. */
export function versionOf({ detail }: Pick<Schemas['Entry'], 'detail'>): string | null {
  const { version, epoch, seq } = (detail ?? {}) as Record<string, unknown>;
  if (typeof version === 'string') return version;
  return typeof epoch === 'number' && typeof seq === 'number' ? `${epoch}.${seq}` : null;
}
