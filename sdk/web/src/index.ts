// Tells Flagfuse which watched flags a page really used, and what its users then did. Beside OpenFeature's web SDK; it never
// throws into the page and never waits.

import { OpenFeature, type Provider, type TrackingEventDetails } from '@openfeature/web-sdk';
import { Companion } from './companion.js';
import type { Event } from './event.js';
import type { Place } from './queue.js';

export type { Event, Place };

/** Why an event was let go of. */
export interface Drop {
  /** A word for programs: a code of the edge's (`docs/events.md`), or `queue_full`, `expired`, `unit_missing`, `metric_malformed`,
   * `value_malformed`, `oversize`; `fault` is ours. */
  code: string;
  /** A sentence. */
  reason: string;
  /** The event, when there was one already. */
  event?: Event | undefined;
}

/** What a page says once. */
export interface Options {
  /** The edge's address, such as `https://flags.example.com`. */
  edge: string;
  /** The environment's client key. */
  key: string;
  /** Whether the visitor has agreed; `true` without it. While it is `false` nothing is stored, sent or kept in memory. */
  consent?: boolean;
  /** OpenFeature's domain, where the page has several. */
  domain?: string;
  /** Whether errors that nobody caught become `error` outcomes; `true` without it. */
  errors?: boolean;
  /** Whether durations become `latency_ms` outcomes, or which; without it the page's load and what its scripts ask for. */
  latency?: boolean | ((entry: PerformanceEntry) => boolean);
  /** Whether a visitor's coming, after half an hour of nothing, becomes a `session` outcome; `true` without it. */
  session?: boolean;
  /** For flags that name their units by another attribute than the targeting key: the attribute, by the flag's key. */
  unitAttributes?: Readonly<Record<string, string>>;
  /** How long an event waits for others, in milliseconds; 1,000 without it. */
  gatherMs?: number;
  /** Is told of every event that was let go of; without it each code is said once on the console. */
  onDrop?: (drop: Drop) => void;
}

/** What became of this page's events. */
export interface Status {
  /** Events that wait, of all pages of this origin. */
  pending: number;
  /** This page's that the edge has on disk. */
  accepted: number;
  /** Those among them whose ticket proved nothing, by the edge's code. */
  unproven: Record<string, number>;
  /** Those that were let go of, by code. */
  dropped: Record<string, number>;
  /** What happened while there was no consent. */
  withheld: number;
}

/** Reports what a page's flags and users do. */
export interface Flagfuse {
  /** Watches a provider: exposures of the flags it answers, and OpenFeature's `track`. Gives the same provider back. */
  instrument<P extends Provider>(provider: P): P;
  /**
   * Something that a unit did: `activation`, `conversion` or a name of your own; `details.value` where it has a number. Says whether
   * the event is `stored` on the device, only in this page's `memory`, or was `dropped`.
   */
  track(name: string, details?: TrackingEventDetails): Place;
  /** The visitor agrees, or does not any more: then the queue and everything else that was stored is erased. */
  setConsent(granted: boolean): void;
  /** A name for this device, kept for as long as there is consent: a targeting key for visitors who have none. */
  deviceUnit(): string;
  /** Sends what waits, if it may; settles when the answers are there. Never rejects. */
  flush(): Promise<void>;
  /** What became of this page's events. */
  status(): Status;
  /** Hears nothing any more. What waits stays for the next page. */
  close(): void;
}

/** Starts reporting. */
export function flagfuse(options: Options): Flagfuse {
  const companion = new Companion({ ...options }, OpenFeature);
  companion.listen();
  return companion;
}
