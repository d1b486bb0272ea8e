// An edge for tests: what `docs/events.md` and OFREP say of one, with a ledger of what it has acknowledged, and faults on demand.
// With `upstream` it passes everything on to a real edge, and only keeps the ledger and makes the faults.
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { within } from '../../../tests/node/bounded.mjs';

const DAY_MS = 86_400_000;
const FIELDS = new Set([
  'id', 'type', 'unit', 'occurred_ms', 'flag', 'variation', 'phase', 'version', 'slices', 'metric', 'value', 'ticket',
]);

const number = (text, below) => createHash('sha256').update(text).digest().readUInt32BE() % below;
const json = (body) => ({ headers: { 'content-type': 'application/json' }, body: JSON.stringify({ metadata: {}, ...body }) });

export class Edge {
  /** Requests for events: `{ at, kind, type, events, status }`. */
  requests = [];
  /** What a 202 has acknowledged, by id. */
  ledger = new Map();
  /** Ids that came again with other words. */
  conflicts = [];
  /** Preflights for events; there should be none. */
  preflights = 0;
  /** Requests that were left to hang. */
  hanging = 0;
  /** Called for each request for events: `undefined` passes it, else `{ status, headers, hangs, cuts, losesAnswer, slowMs, until }`. */
  fault = () => undefined;
  /** The same for evaluations. */
  flagFault = () => undefined;
  /** Watched flags and their phases. */
  phases = new Map([['flag-00', 1], ['flag-01', 1], ['flag-02', 3], ['flag-03', 1], ['one-click', 1]]);
  /** Flags that name their units by another attribute. */
  attributes = new Map();
  /** All flags. */
  flags = [...Array.from({ length: 20 }, (_, n) => `flag-${String(n).padStart(2, '0')}`), 'one-click'];
  /** Of flags whose cohort has slices: what a context puts its unit into. */
  slices = new Map();
  sequence = 1;
  hasTickets = true;
  #secret = randomBytes(16);

  static async start({ upstream, key = 'demo:production.test' } = {}) {
    const edge = new Edge();
    edge.upstream = upstream;
    edge.key = key;
    edge.server = createServer((request, response) => edge.#serve(request, response).catch(() => response.destroy()));
    await within('a port', new Promise((resolve) => edge.server.listen(0, '127.0.0.1', resolve)));
    edge.url = `http://127.0.0.1:${edge.server.address().port}`;
    return edge;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  variationOf = (flag, unit) => (number(`${flag} ${unit}`, 2) === 0 ? 'on' : 'off');

  ticketOf(unit, at = Date.now()) {
    const window = this.#window(unit, at);
    const mac = createHmac('sha256', this.#secret).update(`${window} ${unit}`).digest('hex').slice(0, 32);
    return `t1.${window}.${mac}`;
  }

  /** Units by `flag phase`, each with its arm, that an acknowledged exposure with a good ticket has enrolled. */
  enrolled() {
    const found = new Map();
    for (const { event, unproven } of this.ledger.values()) {
      if (event.type !== 'exposure' || unproven) continue;
      const place = `${event.flag} ${event.phase}`;
      if (!found.has(place)) found.set(place, new Map());
      if (!found.get(place).has(event.unit)) found.get(place).set(event.unit, event.variation);
    }
    return found;
  }

  /** Acknowledged events. */
  events = (type) => [...this.ledger.values()].map(({ event }) => event).filter((event) => !type || event.type === type);

  #window = (unit, at) => Math.floor((at + number(`ticket ${unit}`, DAY_MS)) / DAY_MS);

  async #serve(request, response) {
    const url = new URL(request.url, this.url);
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const isEvents = url.pathname === '/v1/events';
    if (request.method === 'OPTIONS') {
      if (isEvents) this.preflights += 1;
      const allowed = request.headers['access-control-request-headers'] ?? '*';
      return this.#reply(response, 204, { headers: { 'access-control-allow-headers': allowed, 'access-control-allow-methods': 'POST, GET' } });
    }
    const fault = isEvents ? this.fault(body.toString(), this.requests.length) : this.flagFault();
    if (fault?.hangs) return void (this.hanging += 1);
    if (fault?.cuts) return response.destroy();
    // A promise of the test's: the answer comes behind it.
    await fault?.until;
    if (fault?.slowMs) await new Promise((resolve) => setTimeout(resolve, fault.slowMs));
    if (fault?.status) {
      if (isEvents) this.#note(request, body, fault.status);
      const { body: text } = json({ code: 'fault' });
      return this.#reply(response, fault.status, { body: fault.body ?? text, headers: { 'content-type': 'application/json', ...fault.headers } });
    }
    const answer = this.upstream ? await this.#pass(request, url, body) : this.#answer(request, url, body);
    if (isEvents) {
      this.#note(request, body, answer.status);
      if (answer.status === 202) this.#acknowledge(JSON.parse(body), JSON.parse(answer.body));
    }
    // It is on disk, and nobody was told.
    if (fault?.losesAnswer) return response.destroy();
    return this.#reply(response, answer.status, answer);
  }

  #reply(response, status, { headers = {}, body = '' }) {
    response.writeHead(status, {
      'access-control-allow-origin': '*', 'access-control-expose-headers': 'ETag, Retry-After', 'cache-control': 'private, no-cache', ...headers,
    }).end(body);
  }

  #note(request, body, status) {
    let events;
    try {
      ({ events } = JSON.parse(body));
    } catch {
      events = [];
    }
    // A beacon takes cookies along; `fetch` was told not to read the answer as a page's navigation would.
    const kind = request.headers['sec-fetch-mode'] === 'no-cors' ? 'beacon' : 'fetch';
    this.requests.push({ at: Date.now(), kind, type: request.headers['content-type'], length: body.length, events, status });
  }

  #acknowledge({ events }, { quarantined, unticketed = [] }) {
    const refused = new Set(quarantined.map(({ index }) => index));
    const unproven = new Map(unticketed.map(({ index, code }) => [index, code]));
    events.forEach((event, index) => {
      if (refused.has(index)) return;
      const text = JSON.stringify(event);
      const known = this.ledger.get(event.id);
      if (known && known.text !== text) this.conflicts.push([known.text, text]);
      if (known) known.times += 1;
      else this.ledger.set(event.id, { event, text, times: 1, unproven: unproven.get(index), corrected: this.#corrected.get(event.id) });
    });
  }

  #corrected = new Map();

  async #pass(request, url, body) {
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !['host', 'connection', 'content-length'].includes(name)));
    const answer = await fetch(this.upstream + url.pathname + url.search, {
      method: request.method, headers, ...(request.method === 'POST' && { body }), signal: AbortSignal.timeout(30_000),
    });
    const told = Object.fromEntries(['content-type', 'etag', 'retry-after'].flatMap((name) => (answer.headers.has(name) ? [[name, answer.headers.get(name)]] : [])));
    return { status: answer.status, headers: told, body: await answer.text() };
  }

  #answer(request, url, body) {
    const key = (request.headers.authorization ?? '').replace(/^Bearer /i, '') || request.headers['x-api-key'] || url.searchParams.get('key');
    if (key !== this.key) return { status: 401, ...json({ code: 'key_unknown' }) };
    if (url.pathname === '/v1/events') return this.#events(body);
    if (url.pathname === '/ofrep/v1/evaluate/flags') return this.#bulk(request, JSON.parse(body).context ?? {});
    return { status: 404, ...json({ code: 'route_not_found' }) };
  }

  #bulk(request, context) {
    const origin = { version: `1.${this.sequence}`, flagSetId: 'demo/production' };
    const unit = context.targetingKey;
    const flags = this.flags.map((name) => {
      const own = this.attributes.has(name) ? String(context[this.attributes.get(name)]) : unit;
      const phase = this.phases.get(name);
      const variant = this.variationOf(name, own);
      const slices = this.slices.get(name)?.(context);
      const cohort = phase && { arm: variant === 'on' ? 'exposed' : 'control', phase, ...(slices && { slices }) };
      return { key: name, value: variant === 'on', variant, reason: 'SPLIT', metadata: { ...cohort, ...origin } };
    });
    const ticket = this.hasTickets && this.phases.size > 0 && { ticket: this.ticketOf(unit) };
    for (const attribute of ticket ? new Set(this.attributes.values()) : []) ticket[`ticket:${attribute}`] = this.ticketOf(String(context[attribute]));
    const text = JSON.stringify({ flags, metadata: { ...origin, ...ticket } });
    const etag = `"${createHash('sha256').update(text + JSON.stringify(context)).digest('hex').slice(0, 32)}"`;
    if (request.headers['if-none-match'] === etag) return { status: 304, headers: { etag } };
    return { status: 200, headers: { 'content-type': 'application/json', etag }, body: text };
  }

  #events(body) {
    if (body.length > 64 * 1024) return { status: 413, ...json({ code: 'body_too_large' }) };
    let batch;
    try {
      batch = JSON.parse(body);
    } catch {
      return { status: 400, ...json({ code: 'body_malformed' }) };
    }
    if (!Array.isArray(batch.events)) return { status: 400, ...json({ code: 'body_malformed' }) };
    if (batch.events.length > 200) return { status: 413, ...json({ code: 'too_many_events' }) };
    const [quarantined, unticketed] = [[], []];
    batch.events.forEach((event, index) => {
      const fault = this.#misfit(event, batch);
      if (fault) quarantined.push({ index, code: fault[0], field: fault[1], reason: fault[2] ?? fault[0] });
      const ticket = this.#ticketFault(event, event.ticket ?? batch.ticket);
      if (ticket && this.hasTickets && this.phases.size > 0) unticketed.push({ index, code: ticket });
    });
    const accepted = batch.events.length - quarantined.length;
    const told = { accepted, quarantined, ...(unticketed.length > 0 && { unticketed }) };
    if (accepted === 0 && quarantined.length > 0) return { status: 400, ...json({ code: 'events_refused', detail: 'all of them', ...told }) };
    return { status: 202, ...json(told) };
  }

  #misfit(event, { sent_ms }) {
    const isText = (value, max) => typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= max;
    if (Buffer.byteLength(JSON.stringify(event)) > 4_096) return ['oversize'];
    if (!isText(event.id, 64)) return ['bad_schema', 'id'];
    if (!event.unit) return ['unit_missing', 'unit'];
    if (!isText(event.unit, 512)) return ['bad_schema', 'unit'];
    for (const name of Object.keys(event)) if (!FIELDS.has(name)) return ['bad_schema', name, 'the package sends fields that are read, and no others'];
    if (!Number.isInteger(event.occurred_ms)) return ['bad_schema', 'occurred_ms'];
    if (sent_ms !== undefined && !Number.isInteger(sent_ms)) return ['bad_schema', 'sent_ms'];
    const received = Date.now();
    if (event.occurred_ms > (sent_ms ?? received) + 300_000) return ['future', 'occurred_ms'];
    const corrected = sent_ms === undefined ? Math.min(event.occurred_ms, received) : received - Math.max(sent_ms - event.occurred_ms, 0);
    this.#corrected.set(event.id, corrected);
    if (received - corrected > 14 * DAY_MS) return ['too_old', 'occurred_ms'];
    if (event.type === 'outcome') {
      if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(event.metric) || event.metric === 'exposure') return ['bad_schema', 'metric'];
      if (event.value !== undefined && !Number.isFinite(event.value)) return ['bad_schema', 'value'];
      return event.metric === 'latency_ms' && !(event.value >= 0 && event.value <= DAY_MS) ? ['bad_schema', 'value'] : undefined;
    }
    if (event.type !== 'exposure') return ['bad_schema', 'type'];
    if (!this.flags.includes(event.flag)) return ['unknown_flag', 'flag'];
    if (!/^\d+\.\d+$/.test(event.version)) return ['bad_schema', 'version'];
    if (this.phases.get(event.flag) !== event.phase) return ['bad_schema', 'phase'];
    if (event.slices !== undefined && !/^\d{1,2}(\.\d{1,2}){0,3}$/.test(event.slices)) return ['bad_schema', 'slices'];
    return event.variation === this.variationOf(event.flag, event.unit) ? undefined : ['variant_mismatch', 'variation'];
  }

  #ticketFault(event, ticket) {
    if (!ticket) return 'ticket_missing';
    const [id, window, ...rest] = ticket.split('.');
    if (rest.length !== 1) return 'ticket_malformed';
    if (id !== 't1') return 'ticket_unknown_key';
    const start = Number(window) * DAY_MS - number(`ticket ${event.unit}`, DAY_MS);
    if (this.ticketOf(event.unit, start) !== ticket) return 'ticket_wrong';
    const at = this.#corrected.get(event.id) ?? Date.now();
    return Math.abs(this.#window(event.unit, at) - Number(window)) > 1 ? 'ticket_window' : undefined;
  }
}
