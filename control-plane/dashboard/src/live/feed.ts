// The connection to the change feed: one a browser, wherever it runs. Says at any time whether what it tells is live.
import { EventReader, type FeedEvent } from './events.ts';

export type FeedState =
  | { status: 'connecting' }
  /** `heardMs`: when the last byte came, a heartbeat's too. */
  | { status: 'live'; heardMs: number }
  /** `sinceMs`: since when nothing is known to be live. */
  | { status: 'broken'; sinceMs: number }
  /** Nobody is signed in. */
  | { status: 'signed-out' };

/** What is told of the feed: how it stands, and what happened. */
export type FeedMessage = { kind: 'state'; state: FeedState } | { kind: 'event'; event: FeedEvent };
export type FeedListener = (message: FeedMessage) => void;

/** Heartbeats come every 15 s; who misses one and has heard nothing else is not live. */
export const SILENCE_MS = 18_000;
/** How often a connection that is not there is tried. */
export const RETRY_MS = 3_000;
const WATCH_MS = 1_000;

export interface FeedTimes {
  silenceMs: number;
  retryMs: number;
  watchMs: number;
}

export class Feed {
  readonly #url: string;
  readonly #listener: FeedListener;
  readonly #times: FeedTimes;
  #lastId: string | null = null;
  #heardMs = 0;
  #course: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | null = null;
  #watch: ReturnType<typeof setInterval> | null = null;
  #state: FeedState = { status: 'connecting' };

  constructor(url: string, listener: FeedListener, times: FeedTimes = { silenceMs: SILENCE_MS, retryMs: RETRY_MS, watchMs: WATCH_MS }) {
    this.#url = url;
    this.#listener = listener;
    this.#times = times;
  }

  get state(): FeedState {
    return this.#state;
  }

  start(): void {
    this.stop();
    this.#watch = setInterval(() => this.#look(), this.#times.watchMs);
    void this.#connect();
  }

  /** As somebody else, or anew: what another session has seen is not continued. */
  restart(): void {
    this.#lastId = null;
    this.#set({ status: 'connecting' });
    this.start();
  }

  stop(): void {
    if (this.#watch !== null) clearInterval(this.#watch);
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#watch = this.#retry = null;
    this.#course?.abort();
    this.#course = null;
  }

  /** A clock that jumped (a laptop that slept) counts as silence: the line is likely dead, and nobody knows yet. */
  #look(): void {
    if (this.#state.status !== 'live') return;
    if (Date.now() - this.#heardMs > this.#times.silenceMs || Date.now() < this.#heardMs - this.#times.silenceMs) {
      this.#course?.abort();
      this.#broken();
    }
  }

  async #connect(): Promise<void> {
    const course = new AbortController();
    this.#course = course;
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (this.#lastId !== null) headers['last-event-id'] = this.#lastId;
    const overdue = setTimeout(() => course.abort(), this.#times.silenceMs);
    try {
      const response = await fetch(this.#url, { headers, signal: course.signal, cache: 'no-store' });
      clearTimeout(overdue);
      if (response.status === 401) {
        this.stop();
        this.#set({ status: 'signed-out' });
        return;
      }
      if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
      await this.#read(response.body, course);
    } catch {
      // Said below: it is not live, whatever ended it.
    } finally {
      clearTimeout(overdue);
    }
    if (this.#course === course) this.#broken();
  }

  async #read(body: ReadableStream<Uint8Array>, course: AbortController): Promise<void> {
    const reader = body.getReader();
    const [events, text] = [new EventReader(), new TextDecoder()];
    this.#heard();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.#course !== course) return;
      this.#heard();
      for (const event of events.push(text.decode(value, { stream: true }))) {
        if (event.id !== null) this.#lastId = event.id;
        this.#listener({ kind: 'event', event });
      }
    }
  }

  #heard(): void {
    this.#heardMs = Date.now();
    this.#set({ status: 'live', heardMs: this.#heardMs });
  }

  #broken(): void {
    this.#course = null;
    const sinceMs = this.#state.status === 'broken' ? this.#state.sinceMs : this.#heardMs === 0 ? Date.now() : this.#heardMs;
    this.#set({ status: 'broken', sinceMs });
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.#connect(), this.#times.retryMs);
  }

  #set(state: FeedState): void {
    this.#state = state;
    this.#listener({ kind: 'state', state });
  }
}
