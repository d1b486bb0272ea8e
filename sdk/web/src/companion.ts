// Joins the parts: what OpenFeature and the browser say becomes events, which are kept and sent.

import {
  type Client, type EvaluationContext, type EvaluationDetails, type FlagValue, type Hook, type HookContext, type OpenFeatureAPI, type Provider,
  ProviderEvents, type TrackingEventDetails,
} from '@openfeature/web-sdk';
import { byteLength, type Event, EVENT_LEN_MAX, isMetric, type Kept, LATENCY_MS_MAX, textOf, toldOf, unitOf, uuid7 } from './event.js';
import type { Flagfuse, Options, Status } from './index.js';
import { onDurations, Sieve, whichError } from './observe.js';
import { type Place, Queue } from './queue.js';
import { Sender } from './sender.js';
import { attend } from './session.js';
import { mayBeGood, type Metadata, ticketAttributes, ticketName, units } from './ticket.js';
import type { Now } from './time.js';

/** How long an event waits for a ticket that is on its way: after that it goes without one. */
const TICKET_MS_MAX = 10_000;
const GATHER_MS = 1_000;
/** What other pages keep is looked after when they had so long to send it. */
const HERITAGE_MS = 5_000;
/** Somebody's being there is looked at so often: often enough for sessions, and seldom enough for pages that ask in every frame. */
const ATTEND_MS = 60_000;
/** What a page remembers of units, tickets and exposures; beyond it, it forgets all and may repeat itself, which counts once. */
const REMEMBERED_MAX = 1_000;

/** Everything that a page reports. */
export class Companion implements Flagfuse {
  readonly #options: Options;
  readonly #api: OpenFeatureAPI;
  readonly #queue: Queue;
  readonly #sender: Sender;
  readonly #page = uuid7(Date.now()).slice(-12);
  /** Exposures that were made, or the ticket that proved nothing. */
  readonly #exposed = new Map<string, string | true>();
  /** Whose tickets were seen: one that is another unit's says that the answers are too. */
  readonly #owners = new Map<string, string>();
  readonly #end = new AbortController();
  readonly #said = new Set<string>();
  readonly #status: Omit<Status, 'pending'> = { accepted: 0, unproven: {}, dropped: {}, withheld: 0 };
  #provider: Provider | undefined;
  #hasConsent: boolean;
  #device: string | undefined;
  /** The context whose units had a session when somebody's being there was looked at last, and when that was. */
  #attended: EvaluationContext | undefined;
  #attendedMs = 0;

  constructor(options: Options, api: OpenFeatureAPI) {
    this.#options = options;
    this.#api = api;
    this.#hasConsent = isPage && (options.consent ?? true);
    // Whoever leaves them out hears of it from the edge, and the page goes on.
    const [edge, key] = [`${options.edge}`.replace(/\/+$/, ''), `${options.key}`];
    // A new key of the same environment finds what the old one left.
    this.#queue = new Queue(`${edge} ${key.split('.')[0]}`);
    this.#sender = new Sender(this.#queue, {
      url: `${edge}/v1/events?key=${encodeURIComponent(key)}`,
      page: this.#page,
      now,
      gatherMs: options.gatherMs ?? GATHER_MS,
      allows: () => this.#hasConsent,
      ready: (kept, age) => this.#isReady(kept, age),
      troubled: (status) => this.#say(`http_${status}`, `the edge answers ${status}; events wait`),
      accepted: (event, unproven) => this.#isAccepted(event, unproven),
      dropped: (code, reason, event) => this.#isDropped(code, reason, event),
    });
  }

  /** Hears of the page's errors, durations, hiding and coming back. */
  listen(): void {
    const { errors = true, latency = true } = this.#options;
    const { signal } = this.#end;
    if (!isPage) return;
    this.#guarded(() => {
      this.#on(document, 'visibilitychange', () => {
        if (document.visibilityState === 'hidden') this.#sender.beacon(false);
        else this.#shown();
      });
      this.#on(globalThis, 'pagehide', () => this.#sender.beacon(true));
      this.#on(globalThis, 'pageshow', (event) => {
        if ((event as PageTransitionEvent).persisted) this.#shown();
      });
      this.#on(globalThis, 'online', () => this.#sender.revive());
      // Another page keeps events: what is left of them when it had its time is this one's to send.
      this.#on(globalThis, 'storage', (event) => {
        if ((event as StorageEvent).key?.startsWith(this.#queue.prefix)) this.#sender.schedule(HERITAGE_MS);
      });
      for (const event of [ProviderEvents.Ready, ProviderEvents.ContextChanged] as const) {
        this.#client().addHandler(event, () => this.#guarded(() => this.#attends(true)), { signal });
      }
      // What earlier pages left.
      if (this.#hasConsent) this.#sender.schedule();
    });
    if (errors) this.#guarded(() => this.#hearErrors());
    if (latency) this.#guarded(() => this.#hearDurations(typeof latency === 'function' ? latency : undefined));
  }

  instrument<P extends Provider>(provider: P): P {
    return this.#guarded(() => {
      if (this.#provider === provider) return provider;
      this.#provider = provider;
      const hook: Hook = {
        after: (context, details) => this.#guarded(() => {
          const isWatched = typeof details.flagMetadata['phase'] === 'number';
          if (isWatched) this.#uses(provider, context, details);
          this.#attends(isWatched, isWatched);
        }),
      };
      const watched = provider as { hooks?: Hook[]; track?: Provider['track'] };
      watched.hooks = [...(watched.hooks ?? []), hook];
      const track = watched.track?.bind(provider);
      watched.track = (name, context, details) => {
        this.#guarded(() => {
          this.#attends(false);
          this.#outcome(name, details.value, context);
        });
        track?.(name, context, details);
      };
      return provider;
    }, provider);
  }

  track(name: string, details?: TrackingEventDetails): Place {
    return this.#guarded(() => {
      this.#attends(false);
      return this.#outcome(name, details?.value, this.#context());
    }, 'dropped');
  }

  setConsent(granted: boolean): void {
    this.#guarded(() => {
      this.#hasConsent = isPage && granted === true;
      if (this.#hasConsent) {
        if (this.#device) this.#queue.write('unit', this.#device);
        this.#sender.resume();
        this.#attends(true);
      } else {
        this.#sender.stop();
        this.#sender.own.clear();
        this.#queue.clear();
        this.#exposed.clear();
        this.#owners.clear();
        this.#device = this.#attended = undefined;
        this.#attendedMs = 0;
      }
    });
  }

  deviceUnit(): string {
    if (this.#hasConsent) this.#device ??= this.#queue.read('unit');
    this.#device ??= uuid7(Date.now());
    if (this.#hasConsent) this.#queue.write('unit', this.#device);
    return this.#device;
  }

  flush(): Promise<void> {
    return this.#sender.send();
  }

  status(): Status {
    const pending = this.#hasConsent ? this.#queue.ids().length : 0;
    return { pending, ...structuredClone(this.#status) };
  }

  close(): void {
    this.#end.abort();
    this.#sender.stop();
  }

  /** A flag was evaluated whose cohort the unit is in: an exposure, the first time for its unit and phase. */
  #uses(
    provider: Provider,
    { flagKey, context, clientMetadata }: Readonly<HookContext>,
    details: EvaluationDetails<FlagValue>,
  ): void {
    const { phase } = details.flagMetadata as { phase: number };
    if (!details.variant) return;
    if (!this.#hasConsent) {
      this.#status.withheld += 1;
      return;
    }
    const metadata = this.#metadata(provider);
    const attribute = this.#attributeOf(flagKey, metadata);
    const unit = unitOf(context[attribute ?? 'targetingKey']);
    if (unit === undefined) {
      this.#isDropped('unit_missing', `the context of flag "${flagKey}" has no ${attribute ?? 'targetingKey'}`);
      return;
    }
    const ticket = details.flagMetadata['ticket'] ?? metadata[ticketName(attribute)];
    const once = `${unit}\n${flagKey}\n${phase}`;
    const known = this.#exposed.get(once) ?? this.#queue.read(`x.${flagKey}`) === once;
    if (known === true || known === (ticket ?? '')) return;
    // While the context changes, the provider still has the answers of the unit before.
    if (this.#isReconciling(clientMetadata.domain) || !this.#isTicketOf(unit, ticket)) return;
    const place = this.#record({
      type: 'exposure', unit, flag: flagKey, variation: details.variant, phase, ...toldOf(details.flagMetadata), ticket: textOf(ticket),
    });
    if (place === 'dropped') return;
    this.#remember(this.#exposed, once, true);
    if (place === 'stored') this.#queue.write(`x.${flagKey}`, once);
  }

  /** Something happened to the units of a context: one outcome for each of them. */
  #outcome(name: string, value: unknown, context: EvaluationContext, at?: number): Place {
    if (!this.#hasConsent) {
      this.#status.withheld += 1;
      return 'dropped';
    }
    if (!isMetric(name)) {
      return this.#isDropped('metric_malformed', `"${shown(name)}" is no name of an outcome: up to 64 of a-z, 0-9, "-", "_", "."`);
    }
    const isLatency = name === 'latency_ms';
    const number = value as number;
    if (value === undefined ? isLatency : !Number.isFinite(value) || (isLatency && !(number >= 0 && number <= LATENCY_MS_MAX))) {
      return this.#isDropped('value_malformed', `the value of "${name}" is "${shown(value)}"`);
    }
    const found = units(context, this.#metadata());
    if (found.size === 0) return this.#isDropped('unit_missing', `no targetingKey to count "${name}" for`);
    let least: Place = 'stored';
    for (const [unit, ticket] of found) {
      const place = this.#happens(unit, ticket, name, number, at);
      if (place !== 'stored' && least !== 'dropped') least = place;
    }
    return least;
  }

  #happens(unit: string, ticket: string | undefined, metric: string, value?: number, at?: number): Place {
    const isOwn = !this.#isReconciling() && this.#isTicketOf(unit, ticket);
    return this.#record({ type: 'outcome', unit, metric, value, ticket: isOwn ? ticket : undefined }, at);
  }

  /**
   * Somebody is there, and with it the context's units may begin a session, if a fuse watches anything: an answer with a ticket
   * says so, or a flag with a phase where edges have no tickets. `looks`: not only once in a while.
   */
  #attends(looks: boolean, isWatched = false): void {
    if (this.#options.session === false || !this.#hasConsent || document.visibilityState === 'hidden') return;
    const [at, context] = [now(), this.#context()];
    if (Math.abs(at.wall - this.#attendedMs) < ATTEND_MS && (!looks || context === this.#attended)) return;
    this.#attendedMs = at.wall;
    const found = units(context, this.#metadata());
    if (this.#isReconciling() || !(isWatched || [...found.values()].some(Boolean))) return;
    this.#attended = context;
    const { begun, note } = attend(this.#queue.read('s'), [...found.keys()], this.#page, at);
    if (begun.every((unit) => this.#happens(unit, found.get(unit), 'session') !== 'dropped')) this.#queue.write('s', note);
  }

  #shown(): void {
    this.#sender.shown();
    this.#attends(true);
  }

  /** Keeps an event that happened at that steady time, or just now. */
  #record(event: Omit<Event, 'id' | 'occurred_ms'>, at?: number): Place {
    const { wall, steady } = now();
    const p = at ?? steady;
    const e: Event = { id: uuid7(wall), ...event, occurred_ms: Math.round(wall - (steady - p)) };
    if (byteLength(JSON.stringify(e)) > EVENT_LEN_MAX) return this.#isDropped('oversize', 'more than 4 KiB', e);
    const place = this.#queue.add({ e, s: this.#page, p });
    if (place === 'dropped') return this.#isDropped('queue_full', '1,000 events wait', e);
    this.#sender.own.add(e.id);
    this.#sender.schedule();
    return place;
  }

  /** Gives an event the newest ticket before it goes out for the first time; waits for one that is on its way. */
  #isReady(kept: Kept, age: number): boolean {
    const { e } = kept;
    if (kept.x || mayBeGood(e.ticket, e.occurred_ms)) return true;
    const metadata = this.#metadata();
    const found = units(this.#context(), metadata).get(e.unit);
    const isChanging = this.#isReconciling() || !this.#isTicketOf(e.unit, found);
    if (!isChanging && found !== e.ticket && mayBeGood(found, e.occurred_ms)) {
      e.ticket = found!;
    } else if (this.#provider && (isChanging || e.ticket !== undefined || typeof metadata['version'] !== 'string')) {
      // There is no answer yet, or one from an old cache, or another unit's: the next one is on its way.
      if ((kept.s === this.#page ? age : performance.now()) < TICKET_MS_MAX) return false;
    }
    // The same words from now on, or the edge would take it for another event with the same id.
    kept.x = 1;
    this.#queue.replace(kept);
    return true;
  }

  #isAccepted(event: Event, unproven: string | undefined): void {
    this.#status.accepted += 1;
    if (unproven === undefined) return;
    count(this.#status.unproven, unproven);
    // Without a good ticket it enrolled nobody: the next use says so again, if there is another ticket then.
    if (event.type === 'exposure') {
      this.#remember(this.#exposed, `${event.unit}\n${event.flag}\n${event.phase}`, event.ticket ?? '');
      this.#queue.write(`x.${event.flag}`, undefined);
    }
  }

  #isDropped(code: string, reason: string, event?: Event): Place {
    count(this.#status.dropped, code);
    // The next page may try again.
    if (event?.type === 'exposure') this.#queue.write(`x.${event.flag}`, undefined);
    const { onDrop } = this.#options;
    if (onDrop) this.#guarded(() => onDrop({ code, reason, event }));
    else this.#say(code, reason);
    return 'dropped';
  }

  #say(code: string, reason: string): void {
    if (this.#said.has(code)) return;
    this.#said.add(code);
    console.warn(`flagfuse: ${code}: ${reason}`);
  }

  #hearErrors(): void {
    const sieve = new Sieve();
    const hear = (event: globalThis.Event) => this.#notices(sieve, whichError(event as ErrorEvent | PromiseRejectionEvent), 'error');
    for (const name of ['error', 'unhandledrejection']) this.#on(globalThis, name, hear);
  }

  #hearDurations(wanted: ((entry: PerformanceEntry) => boolean) | undefined): void {
    const sieve = new Sieve();
    onDurations(this.#end.signal, wanted, (ms, end, name) => this.#guarded(() => {
      if (!name.startsWith(`${this.#options.edge}`)) this.#notices(sieve, end, 'latency_ms', ms, end);
    }));
  }

  /** Something that the page did not say itself: an outcome of the context's unit, where there is one. */
  #notices(sieve: Sieve, what: string | number, metric: string, value?: number, at?: number): void {
    const context = this.#context();
    const unit = unitOf(context.targetingKey);
    if (unit && sieve.passes(`${unit}|${what}`, performance.now())) this.#outcome(metric, value, context, at);
  }

  #context(): EvaluationContext {
    return this.#api.getContext(this.#options.domain);
  }

  /** The metadata of the whole answer, which a provider tells for flags that do not exist; the empty name never does. */
  #metadata(provider = this.#provider): Metadata {
    try {
      return provider?.resolveBooleanEvaluation('', false, {}, SILENT).flagMetadata ?? {};
    } catch {
      return {};
    }
  }

  /** The attribute that a flag names its units by; `undefined` for the targeting key. */
  #attributeOf(flag: string, metadata: Metadata): string | undefined {
    const told = this.#options.unitAttributes?.[flag];
    if (told !== undefined) return told === 'targetingKey' ? undefined : told;
    const [only, ...others] = 'ticket' in metadata ? [] : ticketAttributes(metadata);
    return others.length === 0 ? only : undefined;
  }

  #client(domain = this.#options.domain): Client {
    return this.#api.getClient(domain);
  }

  #isReconciling(domain?: string): boolean {
    return this.#client(domain).providerStatus === 'RECONCILING';
  }

  /** Whether an answer with this ticket can be the unit's: whoever had it first has it. */
  #isTicketOf(unit: string, ticket: unknown): boolean {
    if (typeof ticket !== 'string') return true;
    const owner = this.#owners.get(ticket);
    if (owner === undefined) this.#remember(this.#owners, ticket, unit);
    return owner === undefined || owner === unit;
  }

  #remember<V>(map: Map<string, V>, key: string, value: V): void {
    if (map.size >= REMEMBERED_MAX) map.clear();
    map.set(key, value);
  }

  #on(target: EventTarget, name: string, hear: (event: globalThis.Event) => void): void {
    target.addEventListener(name, (event) => this.#guarded(() => hear(event)), { signal: this.#end.signal });
  }

  /** Whatever goes wrong here is not the page's business. */
  #guarded<T, O = undefined>(act: () => T, otherwise?: O): T | O {
    try {
      return act();
    } catch (error) {
      count(this.#status.dropped, 'fault');
      try {
        this.#say('fault', String(error));
      } catch {
        // Nor is that.
      }
      return otherwise as O;
    }
  }
}

const count = (counts: Record<string, number>, code: string) => {
  counts[code] = (counts[code] ?? 0) + 1;
};

const silent = () => undefined;
/** A flag without a name is not worth a line in anybody's log. */
const SILENT = { error: silent, warn: silent, info: silent, debug: silent };

/** On a server there is no page to report of: everything is let go of. */
const isPage = typeof document !== 'undefined';

const now = (): Now => ({ wall: Date.now(), steady: performance.now() });

/** What somebody passed, cut short. */
const shown = (value: unknown): string => String(value).slice(0, 80);
