// What needs no browser: ids, names, ages, pauses, tickets, and how requests are cut.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BODY_LEN_MAX, cut, EVENT_COUNT_MAX, SDK } from '../dist/batch.js';
import { byteLength, isMetric, toldOf, unitOf, uuid7 } from '../dist/event.js';
import { Sieve } from '../dist/observe.js';
import { attend, SESSION_MS, UNIT_COUNT_MAX } from '../dist/session.js';
import { mayBeGood, units } from '../dist/ticket.js';
import { AGE_MS_MAX, ageMs, pauseMs, retryAfterMs, sentMs } from '../dist/time.js';
import { readFileSync } from 'node:fs';

const HOUR_MS = 3_600_000;
const kept = (fields = {}, own = {}) => ({
  e: { id: uuid7(1), type: 'outcome', unit: 'ada', metric: 'conversion', occurred_ms: 1_000_000, ...fields }, s: 'page', p: 500, ...own,
});

test('ids are UUIDv7 and rise, even when the clock is set back', () => {
  const ids = [];
  for (let n = 0; n < 6_000; n += 1) ids.push(uuid7(n < 3_000 ? 1_900_000_000_000 + n : 1_800_000_000_000));
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(Number.parseInt(ids[0].replace('-', '').slice(0, 12), 16), 1_900_000_000_000);
});

test('names and units are those that the edge takes', () => {
  for (const name of ['conversion', 'a', '0.x_y-z', 'x'.repeat(64)]) assert.ok(isMetric(name), name);
  for (const name of ['', 'Conversion', '.a', 'exposure', 'x'.repeat(65), 'a b', undefined, 5]) assert.ok(!isMetric(name), String(name));
  for (const text of ['', 'ada', 'ü', '€', '😀', 'a😀ü€\u0000']) assert.equal(byteLength(text), Buffer.byteLength(text), text);
  assert.equal(unitOf('ada'), 'ada');
  assert.equal(unitOf(42), '42');
  assert.equal(unitOf('ü'.repeat(256)), 'ü'.repeat(256));
  for (const value of ['', 'ü'.repeat(257), 4.5, 1e30, NaN, true, null, undefined, {}]) assert.equal(unitOf(value), undefined, String(value));
});

test('an event is as old as it is, whatever became of the clock', () => {
  const { e } = kept();
  const at = (wall, steady) => ({ wall: e.occurred_ms + wall, steady: 500 + steady });
  const own = (now) => ageMs(kept(), 'page', now);
  assert.equal(own(at(HOUR_MS, HOUR_MS)), HOUR_MS);
  assert.equal(own(at(-2 * HOUR_MS, HOUR_MS)), HOUR_MS, 'set back: the steady clock knows');
  assert.equal(own(at(3 * HOUR_MS, HOUR_MS)), 3 * HOUR_MS, 'slept: the steady clock stood still');
  assert.equal(own(at(AGE_MS_MAX * 9, HOUR_MS)), HOUR_MS, 'set by years: nobody slept that long');
  const other = (now) => ageMs(kept(), 'another page', now);
  assert.equal(other(at(HOUR_MS, 0)), HOUR_MS);
  assert.equal(other(at(-HOUR_MS, 0)), 0, 'set back between pages: as new as can be');
  assert.equal(sentMs(kept(), HOUR_MS), e.occurred_ms + HOUR_MS);
});

test('pauses have full jitter, grow to a limit, and never undercut Retry-After', () => {
  assert.equal(pauseMs(0, 0, 0), 0);
  assert.equal(pauseMs(3, 0, 0.5), 4_000);
  assert.ok(pauseMs(16, 0, 0.999) <= 300_000);
  for (const random of [0, 0.5, 0.999]) {
    const pause = pauseMs(0, 5_000, random);
    assert.ok(pause >= 5_000 && pause < 10_000, `${pause}`);
  }
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(retryAfterMs('7', now), 7_000);
  assert.equal(retryAfterMs('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000);
  for (const header of [null, '', 'soon', '-3', 'Wed, 31 Dec 2025 00:00:00 GMT']) assert.equal(retryAfterMs(header, now), 0, String(header));
  assert.equal(retryAfterMs('99999999999', now), 86_400_000);
});

test('a ticket that cannot be good for its event is told from one that may be', () => {
  const day = 20_000;
  const noon = day * 86_400_000 + 43_200_000;
  for (const window of [day - 1, day, day + 1, day + 2]) assert.ok(mayBeGood(`t1.${window}.ab`, noon), `${window}`);
  for (const window of [day - 2, day + 3]) assert.ok(!mayBeGood(`t1.${window}.ab`, noon), `${window}`);
  assert.ok(!mayBeGood(undefined, noon) && !mayBeGood('', noon));
  assert.ok(mayBeGood('of-another-form', noon), 'what the edge will say of it is its business');
});

test('units are the targeting key and the attributes that tickets name', () => {
  const metadata = { version: '1.2', ticket: 'a', 'ticket:company': 'b', 'ticket:device': 'c' };
  assert.deepEqual([...units({ targetingKey: 'ada', company: 42 }, metadata)], [['ada', 'a'], ['42', 'b']]);
  assert.deepEqual([...units({ company: 'acme' }, metadata)], [['acme', 'b']]);
  assert.deepEqual([...units({ targetingKey: 'ada' }, {})], [['ada', undefined]]);
  assert.deepEqual([...units({}, metadata)], []);
});

test('requests are cut at 100 events, at 48 KiB and where times differ', () => {
  const many = Array.from({ length: 450 }, () => ({ kept: kept(), sent: 5 }));
  const batch = cut(many);
  assert.equal(batch.events.length, EVENT_COUNT_MAX);
  assert.deepEqual(JSON.parse(batch.body), { sent_ms: 5, sdk: SDK, events: batch.events.map(({ e }) => e) });
  const large = Array.from({ length: 100 }, () => ({ kept: kept({ unit: 'ü'.repeat(250) }), sent: 5 }));
  const bytes = byteLength(cut(large).body);
  assert.ok(bytes <= BODY_LEN_MAX && bytes > BODY_LEN_MAX - 1_000, `${bytes}`);
  const apart = [{ kept: kept(), sent: 5 }, { kept: kept(), sent: HOUR_MS }, { kept: kept(), sent: 900 }];
  assert.deepEqual(cut(apart).events, [apart[0].kept, apart[2].kept]);
  assert.equal(cut([]), undefined);
  assert.ok(Buffer.byteLength(SDK) <= 64);
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url)));
  assert.equal(SDK, `flagfuse-web/${version}`);
});

test('an exposure sends back what the answer said of it, as text and only where it is there', () => {
  const exposure = (metadata) => JSON.parse(JSON.stringify({ type: 'exposure', ...toldOf(metadata) }));
  assert.deepEqual(exposure({ version: '1.2', slices: '1.0', arm: 'exposed' }), { type: 'exposure', version: '1.2', slices: '1.0' });
  assert.deepEqual(exposure({ version: '1.2' }), { type: 'exposure', version: '1.2' });
  for (const slices of [1, true, null, undefined, {}, ['1']]) assert.deepEqual(exposure({ slices }), { type: 'exposure' }, String(slices));
});

test('a session begins for a unit that was not active for half an hour, on whichever page', () => {
  const at = (minutes, from = 0) => ({ wall: 1_000_000_000 + minutes * 60_000, steady: (minutes - from) * 60_000 });
  const steps = (...acts) => acts.reduce(({ note, found }, [page, now, ...units]) => {
    const next = attend(note, units, page, now);
    return { note: next.note, found: [...found, next.begun.join()] };
  }, { note: undefined, found: [] }).found;
  assert.deepEqual(steps(['a', at(0), 'ada'], ['a', at(29), 'ada'], ['b', at(58), 'ada'], ['a', at(88), 'ada'], ['a', at(88), 'ada']), ['ada', '', '', 'ada', '']);
  assert.deepEqual(steps(['a', at(0), 'ada', 'acme'], ['a', at(1), 'bob', 'acme'], ['a', at(2), 'ada'], ['a', at(32), 'ada', 'bob', 'acme']), ['ada,acme', 'bob', '', 'ada,bob,acme']);
  const moved = (now, ms) => ({ ...now, wall: now.wall + ms });
  assert.deepEqual(steps(['a', at(0), 'ada'], ['a', moved(at(5), -2 * HOUR_MS), 'ada'], ['a', moved(at(36), -2 * HOUR_MS), 'ada']), ['ada', '', 'ada'], 'set back: the page\'s own clock knows');
  assert.deepEqual(steps(['a', at(0), 'ada'], ['b', moved(at(5, 5), -2 * HOUR_MS), 'ada'], ['c', moved(at(36, 36), -2 * HOUR_MS), 'ada']), ['ada', '', 'ada'], 'set back between pages: as new as can be');
  assert.deepEqual(steps(['a', at(0), 'ada'], ['a', { ...at(0), wall: at(600).wall }, 'ada']), ['ada', 'ada'], 'slept: the steady clock stood still');
  assert.equal(SESSION_MS, HOUR_MS / 2);
});

test('the note of sessions has a bound, and may have been written by anybody', () => {
  const now = { wall: 1_000_000_000, steady: 0 };
  let note;
  for (let n = 0; n < 2 * UNIT_COUNT_MAX; n += 1) ({ note } = attend(note, [`unit-${n}`], 'page', now));
  assert.equal(JSON.parse(note).length, UNIT_COUNT_MAX);
  assert.deepEqual(attend(note, ['unit-0', `unit-${UNIT_COUNT_MAX}`], 'page', now).begun, ['unit-0']);
  for (const text of ['', '{', 'null', '5', '[null]', '[5]', '{}', '"x"', '[{}]', '[{"e":{"unit":"ada"}}]', '[{"e":{"unit":"ada","occurred_ms":"x"},"s":"page","p":"y"}]']) {
    const told = attend(text, ['ada'], 'page', now);
    assert.deepEqual([told.begun, JSON.parse(told.note).length], [['ada'], 1], text);
  }
});

test('the same error goes through once in ten minutes, and ten of all', () => {
  const sieve = new Sieve();
  assert.ok(sieve.passes('a', 0) && !sieve.passes('a', 1));
  const through = Array.from({ length: 10_000 }, (_, n) => sieve.passes(`${n}`, 2)).filter(Boolean);
  assert.equal(through.length, 9);
  assert.ok(sieve.passes('a', 600_000));
});
