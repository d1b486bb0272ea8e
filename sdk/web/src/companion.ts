// Joins the parts: what OpenFeature and the browser say becomes events, which are kept and sent.

import type {
  EvaluationContext, EvaluationDetails, FlagValue, Hook, HookContext, OpenFeatureAPI, Provider, TrackingEventDetails,
} from '@openfeature/web-sdk';
import { byteLength, type Event, EVENT_LEN_MAX, isMetric, type Kept, LATENCY_MS_MAX, unitOf, uuid7 } from './event.js';
import type { Flagfuse, Options, Status } from './index.js';
import { onDurations, onErrors, Sieve } from './observe.js';
import { type Place, Queue } from './queue.js';
import { Sender } from './sender.js';
import { mayBeGood, type Metadata, ticketAttributes, ticketName, units } from './ticket.js';
import type { Now } from './time.js';

/** How long an event waits for a ticket that is on its way: after that it goes without one. */
const TICKET_MS_MAX = 10_000;
const GATHER_MS = 1_000;
/** What a page remembers of units, tickets and exposures; beyond it, it forgets all and may repeat itself, which counts once. */
const REMEMBERED_MAX = 1_000;

/** Everything that a page reports. */
export class Companion implements Flagfuse {
  readonly #options: Options;
  readonly #api: OpenFeatureAPI;
  readonly #queue: Queue;
  readonly #sender: Sender;
  readonly #page = uuid7(Date.now()).slice(-12);
  /** Exposures that were made, with the ticket that proved nothing, if one did not. */
  readonly #exposed = new Map<string, string | undefined>();
  /** Whose tickets were seen: one that is another unit's says that the answers are too. */
  readonly #owners = new Map<string, string>();
  readonly #ends: (() => void)[] = [];
  readonly #said = new Set<string>();
  readonly #status: Omit<Status, 'pending'> = { accepted: 0, unproven: {}, dropped: {}, withheld: 0 };
  #provider: Provider | undefined;
  #hasConsent: boolean;
  #device: string | undefined;

  constructor(options: Options, api: OpenFeatureAPI) {
    this.#options = options;
    this.#api = api;
    this.#hasConsent = isPage && (options.consent ?? true);
    // Whoever leaves them out hears of it from the edge, and the page goes on.
    const [edge, key] = [`${options.edge}`.replace(/\/+$/, ''), `${options.key}`];
    // A new key of the same environment finds what the old one left.
    this.#queue = new Queue(shortHash(`${edge} ${key.split('.')[0]}`));
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
    if (!isPage) return;
    this.#guarded(undefined, () => {
      this.#on(document, 'visibilitychange', () => {
        if (document.visibilityState === 'hidden') this.#sender.beacon(false);
        else this.#sender.shown();
      });
      this.#on(globalThis, 'pagehide', () => this.#sender.beacon(true));
      this.#on(globalThis, 'pageshow', (event) => {
        if ((event as PageTransitionEvent).persisted) this.#sender.shown();
      });
      this.#on(globalThis, 'online', () => this.#sender.revive());
      // What earlier pages left.
      if (this.#hasConsent) this.#sender.schedule(this.#options.gatherMs ?? GATHER_MS);
    });
    if (errors) this.#guarded(undefined, () => this.#hearErrors());
    if (latency) this.#guarded(undefined, () => this.#hearDurations(typeof latency === 'function' ? latency : undefined));
  }

  instrument<P extends Provider>(provider: P): P {
    return this.#guarded(provider, () => {
      if (this.#provider === provider) return provider;
      this.#provider = provider;
      const hook: Hook = { after: (context, details) => this.#guarded(undefined, () => this.#uses(provider, context, details)) };
      const watched = provider as { hooks?: Hook[]; track?: Provider['track'] };
      watched.hooks = [...(watched.hooks ?? []), hook];
      const track = watched.track?.bind(provider);
      watched.track = (name, context, details) => {
        this.#guarded(undefined, () => void this.#outcome(name, details.value, context));
        track?.(name, context, details);
      };
      return provider;
    });
  }

  track(name: string, details?: TrackingEventDetails): Place {
    return this.#guarded<Place>('dropped', () => this.#outcome(name, details?.value, this.#context()));
  }

  setConsent(granted: boolean): void {
    this.#guarded(undefined, () => {
      this.#hasConsent = isPage && granted === true;
      if (this.#hasConsent) {
        if (this.#device) this.#queue.write('unit', this.#device);
        this.#sender.resume();
      } else {
        this.#sender.stop();
        this.#sender.own.clear();
        this.#queue.clear();
        this.#exposed.clear();
        this.#owners.clear();
        this.#device = undefined;
      }
    });
  }

  deviceUnit(): string {
    return this.#guarded(this.#device ?? uuid7(Date.now()), () => {
      this.#device ??= (this.#hasConsent ? this.#queue.read('unit') : undefined) ?? uuid7(Date.now());
      if (this.#hasConsent) this.#queue.write('unit', this.#device);
      return this.#device;
    });
  }

  flush(): Promise<void> {
    return this.#sender.send();
  }

  status(): Status {
    const pending = this.#hasConsent ? this.#guarded(0, () => this.#queue.ids().length) : 0;
    return { pending, ...structuredClone(this.#status) };
  }

  close(): void {
    for (const end of this.#ends.splice(0)) this.#guarded(undefined, end);
    this.#sender.stop();
  }

  /** A flag was evaluated: an exposure, the first time for its unit and phase. */
  #uses(
    provider: Provider,
    { flagKey, context, clientMetadata }: Readonly<HookContext>,
    details: EvaluationDetails<FlagValue>,
  ): void {
    const { phase, version } = details.flagMetadata;
    // No phase: no fuse watches the flag, or the unit is not in its cohort.
    if (typeof phase !== 'number' || !details.variant) return;
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
    if (this.#exposed.has(once)) {
      const unproven = this.#exposed.get(once);
      if (unproven === undefined || unproven === (ticket ?? '')) return;
    } else if (this.#queue.read(`x.${flagKey}`) === once) {
      this.#remember(this.#exposed, once, undefined);
      return;
    }
    // While the context changes, the provider still has the answers of the unit before.
    if (this.#isReconciling(clientMetadata.domain) || !this.#isTicketOf(unit, ticket)) return;
    const place = this.#record({
      type: 'exposure', unit, flag: flagKey, variation: details.variant, phase,
      ...(typeof version === 'string' && { version }), ...(typeof ticket === 'string' && { ticket }),
    });
    if (place === 'dropped') return;
    this.#remember(this.#exposed, once, undefined);
    if (place === 'stored') this.#queue.write(`x.${flagKey}`, once);
  }

  /** Something happened to the units of a context: one outcome for each of them. */
  #outcome(name: string, value: unknown, context: EvaluationContext, at?: number): Place {
    if (!this.#hasConsent) {
      this.#status.withheld += 1;
      return 'dropped';
    }
    if (!isMetric(name)) {
      return this.#isDropped('metric_malformed', `an outcome's name is up to 64 of a-z, 0-9, "-", "_", ".", not ${shown(name)}`);
    }
    const isLatency = name === 'latency_ms';
    if (value === undefined ? isLatency : typeof value !== 'number' || !Number.isFinite(value)
      || (isLatency && (value < 0 || value > LATENCY_MS_MAX))) {
      return this.#isDropped('value_malformed', `the value of "${name}" is ${shown(value)}`);
    }
    const found = units(context, this.#metadata());
    if (found.size === 0) return this.#isDropped('unit_missing', `there is no targetingKey to count "${name}" for`);
    let least: Place = 'stored';
    for (const [unit, ticket] of found) {
      const place = this.#record({
        type: 'outcome', unit, metric: name, ...(typeof value === 'number' && { value }),
        ...(ticket !== undefined && !this.#isReconciling() && this.#isTicketOf(unit, ticket) && { ticket }),
      }, at);
      if (place !== 'stored' && least !== 'dropped') least = place;
    }
    return least;
  }

  /** Keeps an event that happened at that steady time, or just now. */
  #record(event: Omit<Event, 'id' | 'occurred_ms'>, at?: number): Place {
    const { wall, steady } = now();
    const p = at ?? steady;
    const e: Event = { id: uuid7(wall), ...event, occurred_ms: Math.round(wall - (steady - p)) };
    if (byteLength(JSON.stringify(e)) > EVENT_LEN_MAX) return this.#isDropped('oversize', 'an event has 4 KiB at most', e);
    const place = this.#queue.add({ e, s: this.#page, p });
    if (place === 'dropped') return this.#isDropped('queue_full', '1,000 events wait already', e);
    this.#sender.own.add(e.id);
    this.#sender.schedule(this.#options.gatherMs ?? GATHER_MS);
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
    this.#status.unproven[unproven] = (this.#status.unproven[unproven] ?? 0) + 1;
    // Without a good ticket it enrolled nobody: the next use says so again, if there is another ticket then.
    if (event.type === 'exposure') {
      this.#remember(this.#exposed, `${event.unit}\n${event.flag}\n${event.phase}`, event.ticket ?? '');
      this.#queue.write(`x.${event.flag}`, undefined);
    }
  }

  #isDropped(code: string, reason: string, event?: Event): Place {
    this.#status.dropped[code] = (this.#status.dropped[code] ?? 0) + 1;
    // The next page may try again.
    if (event?.type === 'exposure') this.#queue.write(`x.${event.flag}`, undefined);
    const { onDrop } = this.#options;
    if (onDrop) this.#guarded(undefined, () => onDrop({ code, reason, ...(event && { event }) }));
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
    this.#ends.push(onErrors((what) => this.#guarded(undefined, () => {
      const unit = unitOf(this.#context().targetingKey);
      if (unit !== undefined && sieve.passes(`${unit}|${what}`, performance.now())) this.#outcome('error', undefined, this.#context());
    })));
  }

  #hearDurations(wanted: ((entry: PerformanceEntry) => boolean) | undefined): void {
    const sieve = new Sieve();
    this.#ends.push(onDurations(wanted, (ms, end, name) => this.#guarded(undefined, () => {
      if (name.startsWith(`${this.#options.edge}`) || unitOf(this.#context().targetingKey) === undefined) return;
      if (sieve.passes(`${end}`, performance.now())) this.#outcome('latency_ms', ms, this.#context(), end);
    })));
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

  #isReconciling(domain = this.#options.domain): boolean {
    return (domain === undefined ? this.#api.getClient() : this.#api.getClient(domain)).providerStatus === 'RECONCILING';
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
    const guarded = (event: globalThis.Event) => this.#guarded(undefined, () => hear(event));
    target.addEventListener(name, guarded);
    this.#ends.push(() => target.removeEventListener(name, guarded));
  }

  /** Whatever goes wrong here is not the page's business. */
  #guarded<T>(otherwise: T, act: () => T): T {
    try {
      return act();
    } catch (error) {
      this.#status.dropped['fault'] = (this.#status.dropped['fault'] ?? 0) + 1;
      try {
        this.#say('fault', String(error));
      } catch {
        // Nor is that.
      }
      return otherwise;
    }
  }
}

const silent = () => undefined;
/** A flag without a name is not worth a line in anybody's log. */
const SILENT = { error: silent, warn: silent, info: silent, debug: silent };

/** On a server there is no page to report of: everything is let go of. */
const isPage = typeof document !== 'undefined';

const now = (): Now => ({ wall: Date.now(), steady: performance.now() });

/** What somebody passed, cut short. */
const shown = (value: unknown): string => (typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value));

/** FNV-1a: a short name for a long one. */
function shortHash(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0).toString(36);
}
