// Keeps events until they are acknowledged: in localStorage, one entry an event, or in memory where there is none.
//
// localStorage and not IndexedDB, because it is synchronous: what was kept is kept before the caller gets its value, even if the
// tab dies in the next line. One entry an event, so that tabs never overwrite each other's.

import type { Kept } from './event.js';

/** Events that wait at most. More are refused, which the caller is told: what was kept is never thrown out for newer ones. */
export const QUEUE_COUNT_MAX = 1_000;
/** So many events are added before the entries of other tabs are counted again. */
const RECOUNT_AFTER = 50;

/** Where an event is: on the device, in this page's memory, or nowhere. */
export type Place = 'stored' | 'memory' | 'dropped';

/** What waits, of all pages of this origin that send to the same environment. */
export class Queue {
  readonly #memory = new Map<string, Kept>();
  readonly #notes = new Map<string, string>();
  /** Begins the names of all entries, and is the name of the lock that whoever sends them holds. */
  readonly prefix: string;
  #storage: Storage | undefined;
  #count = 0;
  #uncounted = RECOUNT_AFTER;

  /** Reads and writes nothing yet. `name` tells environments of one origin apart. */
  constructor(name: string) {
    this.prefix = `flagfuse.${name}.`;
    try {
      // Newer servers have one too, which is nobody's.
      if (typeof document !== 'undefined') this.#storage = globalThis.localStorage;
    } catch {
      // Switched off: reading the property throws.
    }
  }

  /** Keeps an event. */
  add(kept: Kept): Place {
    if (this.#uncounted >= RECOUNT_AFTER) this.ids();
    if (this.#count >= QUEUE_COUNT_MAX) return 'dropped';
    this.#count += 1;
    this.#uncounted += 1;
    if (this.#write(`q.${kept.e.id}`, JSON.stringify(kept))) return 'stored';
    this.#memory.set(kept.e.id, kept);
    return 'memory';
  }

  /** Writes an event again that was changed before it was ever sent. */
  replace(kept: Kept): void {
    if (!this.#memory.has(kept.e.id)) this.#write(`q.${kept.e.id}`, JSON.stringify(kept));
  }

  /** Ids of all that waits, oldest first. */
  ids(): string[] {
    const found = [...this.#memory.keys()];
    const start = `${this.prefix}q.`;
    for (const name of this.#names()) if (name.startsWith(start)) found.push(name.slice(start.length));
    this.#count = found.length;
    this.#uncounted = 0;
    return found.sort();
  }

  /** An event that waits, unless another page has sent it. An entry that nobody can read goes. */
  get(id: string): Kept | undefined {
    const kept = this.#memory.get(id);
    if (kept) return kept;
    const text = this.read(`q.${id}`);
    if (text === undefined) return undefined;
    try {
      const read = JSON.parse(text) as Kept;
      if (read.e.id === id && Number.isFinite(read.e.occurred_ms)) return read;
    } catch {
      // Not ours, or cut off.
    }
    this.remove(id);
    return undefined;
  }

  /** Whether an event is only in this page's memory. */
  isVolatile(id: string): boolean {
    return this.#memory.has(id);
  }

  /** Lets go of an event. */
  remove(id: string): void {
    if (!this.#memory.delete(id)) this.write(`q.${id}`, undefined);
    this.#count = Math.max(this.#count - 1, 0);
  }

  /** A note beside the events: which exposures were made, who was active, the device's unit. */
  read(name: string): string | undefined {
    try {
      return this.#notes.get(name) ?? this.#storage?.getItem(this.prefix + name) ?? undefined;
    } catch {
      return undefined;
    }
  }

  /** Writes a note, or removes it. One that cannot be stored is this page's alone. */
  write(name: string, text: string | undefined): void {
    this.#notes.delete(name);
    if (text !== undefined) {
      if (!this.#write(name, text)) this.#notes.set(name, text);
    } else {
      try {
        this.#storage?.removeItem(this.prefix + name);
      } catch {
        // Then it stays.
      }
    }
  }

  /** Forgets everything: events, notes, and those that other pages of this origin keep. */
  clear(): void {
    this.#memory.clear();
    this.#notes.clear();
    for (const name of this.#names()) this.write(name.slice(this.prefix.length), undefined);
    this.#count = 0;
  }

  #write(name: string, text: string): boolean {
    try {
      this.#storage?.setItem(this.prefix + name, text);
      return this.#storage !== undefined;
    } catch {
      // Full.
      return false;
    }
  }

  /** By their place: asking for all keys at once would read every value too. */
  #names(): string[] {
    const names: string[] = [];
    try {
      for (let place = 0; place < this.#storage!.length; place += 1) {
        const name = this.#storage!.key(place);
        if (name?.startsWith(this.prefix)) names.push(name);
      }
    } catch {
      // There is none, or it was taken away.
    }
    return names;
  }
}
