// Sends what waits, again and again until it is acknowledged, and lets go of it then. One page of an origin sends at a time.

import { BODY_LEN_MAX, cut, EVENT_COUNT_MAX, type Batch } from './batch.js';
import type { Event, Kept } from './event.js';
import type { Queue } from './queue.js';
import { AGE_MS_MAX, ageMs, type Now, pauseMs, retryAfterMs, sentMs } from './time.js';

/** A request that is not answered for so long is made again. */
const ANSWER_MS_MAX = 30_000;
/** While another page sends, this one looks again after so long. */
const ELSEWHERE_MS = 1_000;
/** After a beacon the same events are sent for an answer, if the page is still there then. */
const AFTER_BEACON_MS = 5_000;
/** Answers of an edge that say something about these events, and always will. Others are about the key, the address or the moment. */
const PERMANENT = [400, 413, 415, 422];

/** What the sender asks of its page. */
export interface Surroundings {
  /** Where events go, with the key in the query: a header of its own would cost a preflight. */
  url: string;
  /** This page's name. */
  page: string;
  /** Reads both clocks. */
  now: () => Now;
  /** How long an event waits for others, in milliseconds. */
  gatherMs: number;
  /** Whether anything may be sent. */
  allows: () => boolean;
  /** Makes an event ready for its first sending; `false` when it has to wait for its ticket. */
  ready: (kept: Kept, age: number) => boolean;
  /** The edge refuses the request for what is not the events' fault. */
  troubled: (status: number) => void;
  /** An event is on disk at the edge; `unproven` says why its ticket proved nothing. */
  accepted: (event: Event, unproven?: string) => void;
  /** An event was let go of. */
  dropped: (code: string, reason: string, event: Event) => void;
}

interface Told {
  index: number;
  code: string;
  reason?: string;
}

interface Answer {
  accepted?: number;
  code?: string;
  detail?: string;
  quarantined?: Told[];
  unticketed?: Told[];
}

/** Sends a queue's events. */
export class Sender {
  /** Ids that this page made and nobody has acknowledged. */
  readonly own = new Set<string>();
  readonly #queue: Queue;
  readonly #around: Surroundings;
  readonly #beaconed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #sending: Promise<void> | undefined;
  #request: AbortController | undefined;
  #flying: readonly Kept[] = [];
  #heldBack = false;
  #failures = 0;
  #notBefore = 0;
  #countMax = EVENT_COUNT_MAX;
  #isStopped = false;
  #hasLeft = false;

  constructor(queue: Queue, around: Surroundings) {
    this.#queue = queue;
    this.#around = around;
  }

  /** Sends after so many milliseconds, or when a server allows it. */
  schedule(ms = this.#around.gatherMs): void {
    if (this.#isStopped) return;
    const { steady } = this.#around.now();
    const due = Math.max(steady + ms, this.#notBefore);
    if (this.#timer !== undefined && this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.send();
    }, due - steady);
  }

  /** Sends now what may be sent now; settles when the answers are there. Never rejects. */
  send(): Promise<void> {
    this.#sending ??= this.#sendAlone().catch(() => this.#failed(0)).finally(() => {
      this.#sending = undefined;
      // Whatever ended it, such as a page that was left and brought back: nothing waits for nobody.
      if (this.#timer === undefined && this.own.size > 0) this.schedule();
    });
    return this.#sending;
  }

  /** The network is back: earlier failures say nothing any more. */
  revive(): void {
    if (this.#failures === 0) return;
    this.#failures = 0;
    this.#notBefore = this.#askedToWait();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.schedule(Math.random() * this.#around.gatherMs);
  }

  /** The page is hidden, and may be gone without another word: everything of its own goes out that still fits. */
  beacon(leaves: boolean): void {
    if (!this.#around.allows()) return;
    // A page that waits for an answer, or holds the lock, could not be brought back as it was.
    if (leaves) this.#abort();
    const flying = new Set(this.#flying.map((kept) => kept.e.id));
    const ids = [...this.own].filter((id) => !this.#beaconed.has(id) && !flying.has(id)).sort();
    let waiting = this.#read(ids, true);
    let room = BODY_LEN_MAX;
    for (let batch = cut(waiting); batch; batch = cut(waiting)) {
      room -= batch.body.length;
      if (room < 0 || !navigator.sendBeacon(this.#around.url, batch.body)) break;
      const sent = new Set(batch.events);
      for (const kept of sent) this.#beaconed.add(kept.e.id);
      waiting = waiting.filter(({ kept }) => !sent.has(kept));
    }
    if (this.own.size > 0) this.schedule(AFTER_BEACON_MS);
  }

  /** The page is seen again. */
  shown(): void {
    this.#beaconed.clear();
    if (this.own.size > 0) this.schedule(0);
  }

  /** Sends nothing any more until it is told to go on. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#abort();
  }

  /** Goes on. */
  resume(): void {
    this.#isStopped = false;
    this.schedule(0);
  }

  /** Ends the request that is under way, which is no failure, and sends no other one behind it. */
  #abort(): void {
    const request = this.#request;
    this.#request = undefined;
    this.#flying = [];
    this.#hasLeft = true;
    request?.abort();
  }

  /** One page at a time, where the browser can tell; elsewhere two may send the same, which counts once. */
  async #sendAlone(): Promise<void> {
    if (!this.#around.allows()) return;
    const wait = Math.max(this.#notBefore, this.#askedToWait()) - this.#around.now().steady;
    if (wait > 0) return this.schedule(wait);
    let isAsked = false;
    const drain = (lock: Lock | null) => {
      isAsked = true;
      return lock ? this.#drain() : this.schedule(ELSEWHERE_MS * (1 + Math.random()));
    };
    try {
      await navigator.locks.request(this.#queue.prefix, { ifAvailable: true }, drain);
    } catch {
      // There are no locks where there is no secure context or no storage.
      if (!isAsked) await this.#drain();
    }
  }

  async #drain(): Promise<void> {
    const ids = this.#queue.ids();
    const known = new Set(ids);
    // What another page has sent is nothing to wait for.
    for (const id of this.own) if (!known.has(id)) this.own.delete(id);
    this.#heldBack = this.#hasLeft = false;
    for (;;) {
      // The page comes first: what was listed is read in another task, and the next ones when these are settled.
      await new Promise((resolve) => setTimeout(resolve));
      const batch = this.#hasLeft ? undefined : cut(this.#read(ids), this.#countMax);
      if (!batch || !this.#around.allows()) break;
      const isSettled = await this.#post(batch);
      if (isSettled === undefined) return;
      if (!isSettled) continue;
      const gone = new Set(batch.events.map((kept) => kept.e.id));
      ids.splice(0, ids.length, ...ids.filter((id) => !gone.has(id)));
    }
    if (this.own.size > 0 || this.#heldBack) this.schedule();
  }

  /** So many of these events as a request takes, with the `sent_ms` that says how old each is. `ids` loses those that are gone. */
  #read(ids: string[], isLast = false): { kept: Kept; sent: number }[] {
    const { page, now, ready, dropped } = this.#around;
    const at = now();
    const found: { kept: Kept; sent: number }[] = [];
    const left = ids.filter((id) => {
      if (found.length >= EVENT_COUNT_MAX) return true;
      const kept = this.#queue.get(id);
      if (!kept) {
        this.own.delete(id);
        return false;
      }
      const age = ageMs(kept, page, at);
      if (age > AGE_MS_MAX) {
        this.#letGo(kept);
        dropped('expired', 'it waited 7 days', kept.e);
        return false;
      }
      // What would be gone with the page goes as it is, and stays so in case the page is brought back.
      if (isLast && this.#queue.isVolatile(id)) kept.x = 1;
      const isReady = ready(kept, age);
      if (isReady) found.push({ kept, sent: sentMs(kept, age) });
      else this.#heldBack = true;
      return isReady;
    });
    ids.splice(0, ids.length, ...left);
    return found;
  }

  /** `true` when the batch is settled, `false` when it has to be cut smaller, `undefined` when it has to wait. */
  async #post(batch: Batch): Promise<boolean | undefined> {
    const request = new AbortController();
    const timer = setTimeout(() => request.abort(), ANSWER_MS_MAX);
    this.#request = request;
    this.#flying = batch.events;
    try {
      const response = await fetch(this.#around.url, {
        method: 'POST', body: batch.body, credentials: 'omit', signal: request.signal,
        // What lives on after the page is limited for the page as a whole: where that is used up, the next attempt does without.
        keepalive: this.#failures % 2 === 0,
      });
      const { ok, status } = response;
      // Whoever answers in an edge's place, such as a site that has a page for every address, acknowledges nothing.
      const answer = ok || PERMANENT.includes(status) ? await response.json().catch(() => undefined) as Answer | undefined : undefined;
      if (ok ? typeof answer?.accepted === 'number' : typeof answer?.code === 'string') return this.#settle(batch, ok, answer!);
      this.#around.troubled(status);
      this.#failed(retryAfterMs(response.headers.get('retry-after'), this.#around.now().wall));
    } catch {
      if (this.#request === request) this.#failed(0);
    } finally {
      clearTimeout(timer);
      if (this.#request === request) {
        this.#request = undefined;
        this.#flying = [];
      }
    }
    return undefined;
  }

  #settle({ events }: Batch, isTaken: boolean, answer: Answer): boolean {
    this.#failures = 0;
    const by = (told: unknown) => new Map((Array.isArray(told) ? told as Told[] : []).map((one) => [one.index, one]));
    const [quarantined, unproven] = [by(answer.quarantined), by(answer.unticketed)];
    if (!isTaken && quarantined.size === 0 && events.length > 1) {
      // One of them spoils it for all.
      this.#countMax = Math.ceil(events.length / 2);
      return false;
    }
    this.#countMax = Math.min(this.#countMax * 2, EVENT_COUNT_MAX);
    events.forEach((kept, index) => {
      this.#letGo(kept);
      const fault = quarantined.get(index);
      if (fault) this.#around.dropped(fault.code, fault.reason ?? '', kept.e);
      else if (isTaken) this.#around.accepted(kept.e, unproven.get(index)?.code);
      else this.#around.dropped(answer.code ?? 'refused', answer.detail ?? '', kept.e);
    });
    return true;
  }

  #letGo(kept: Kept): void {
    this.#queue.remove(kept.e.id);
    this.own.delete(kept.e.id);
    this.#beaconed.delete(kept.e.id);
  }

  #failed(asked: number): void {
    const { wall, steady } = this.#around.now();
    this.#notBefore = steady + pauseMs(this.#failures, asked, Math.random());
    this.#failures = Math.min(this.#failures + 1, 16);
    // Other pages, and the next one, wait as well.
    if (asked > 0) this.#queue.write('wait', String(wall + asked));
    this.schedule(0);
  }

  /** The steady time until which a server has asked some page of this origin to wait. */
  #askedToWait(): number {
    const { wall, steady } = this.#around.now();
    const left = Number(this.#queue.read('wait')) - wall;
    // More than a day is a clock that was set back.
    return left > 0 && left <= 86_400_000 ? steady + left : 0;
  }
}
