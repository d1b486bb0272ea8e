// Bad input of a page in a real browser: what is no flag, unit, event, answer or ticket spoils nothing, is counted and said, and throws
// nothing into the page.
import assert from 'node:assert/strict';
import { sleep, until, within } from '../../../tests/node/bounded.mjs';
import { arrives, empties, isReal, slowDown, status, story, track, unitName, use, world } from './story.mjs';

const DAY_MS = 86_400_000;

story('what answers in an edge\'s place acknowledges nothing', async ({ edge, open }) => {
  // A site that has a page for every address, and a firewall that does not like what it sees.
  const html = { headers: { 'content-type': 'text/html' }, body: '<!doctype html>' };
  edge.fault = (body, at) => [{ status: 200, ...html }, { status: 400, ...html }][at];
  const page = await open();
  await track(page, 5);
  await until('both have answered', async () => edge.requests.length >= 2);
  await arrives(edge, 5, 'at the edge');
  assert.deepEqual((await status(page)).dropped, {});
});

story('refused events are dropped with their code, and spoil nothing for others', async ({ edge, open }) => {
  const page = await open();
  edge.variationOf = () => 'on';
  const places = await page.evaluate(() => {
    for (let n = 0; n < 20; n += 1) window.flag('flag-00');
    return [
      window.ff.track('Conversion'), window.ff.track('exposure'), window.ff.track('latency_ms'), window.ff.track('latency_ms', { value: -1 }),
      window.ff.track('revenue', { value: 'much' }), window.ff.track('revenue', { value: NaN }), window.ff.track(), window.ff.track(null, null),
      window.ff.track('conversion'), window.ff.track('latency_ms', { value: 12.5 }),
    ];
  });
  assert.deepEqual(places, [...Array(8).fill('dropped'), 'stored', 'stored']);
  await arrives(edge, 2, 'the good ones');
  const { dropped } = await status(page);
  assert.equal(dropped.metric_malformed, 4);
  assert.equal(dropped.value_malformed, 4);
  assert.ok((await page.evaluate(() => window.drops)).every(({ reason }) => reason.length > 10));
  // A body that the edge cannot make sense of as a whole: the one event that spoils it is found.
  edge.fault = (body) => (JSON.parse(body).events.some(({ metric }) => metric === 'poison') ? { status: 400 } : undefined);
  await track(page, 9);
  await page.evaluate(() => window.ff.track('poison'));
  await track(page, 9);
  await arrives(edge, 20, 'around the poison');
  await empties(page);
  assert.deepEqual((await page.evaluate(() => window.drops)).filter(({ event }) => event?.metric === 'poison').length, 1);
}, { needsOwnEdge: true });

story('an exposure that the edge quarantines is told', async ({ edge, open }) => {
  const page = await open();
  edge.phases.set('flag-00', 2);
  await use(page, 'flag-00');
  await until('it is told', async () => (await page.evaluate(() => window.drops.length)) > 0);
  const [{ code, event }] = await page.evaluate(() => window.drops);
  assert.deepEqual([code, event.flag, event.phase], ['bad_schema', 'flag-00', 1]);
}, { needsOwnEdge: true });

story('1,000 events wait at most; what was kept is not thrown out, and what is refused is said', async ({ edge, open }) => {
  edge.fault = () => ({ cuts: true });
  const page = await open();
  const places = await page.evaluate(() => {
    const began = performance.now();
    for (let n = 0; n < 10_000; n += 1) window.kept.push(window.ff.track('conversion', { value: n }));
    window.took = performance.now() - began;
    return window.kept;
  });
  assert.equal(places.filter((place) => place === 'stored').length, 1_000);
  assert.equal((await status(page)).dropped.queue_full, 9_000);
  console.log(`# 10,000 calls of track, 1,000 stored: ${Math.round(await page.evaluate(() => window.took))} ms of wall time in all`);
  edge.fault = () => undefined;
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await arrives(edge, 1_000, 'all that was kept');
  assert.deepEqual(edge.events('outcome').map(({ value }) => value), Array.from({ length: 1_000 }, (_, n) => n), 'in order');
  assert.ok(edge.requests.every(({ length, events }) => length <= 48 * 1_024 && events.length <= 200));
  assert.deepEqual(await page.evaluate(() => window.thrown), []);
});

story('errors and durations become outcomes, each once and never many', async ({ edge, open }) => {
  const page = await open({ options: { errors: true, latency: true } });
  await page.evaluate(async () => {
    for (let n = 0; n < 50; n += 1) {
      setTimeout(() => { throw new Error(n % 2 === 0 ? 'the same' : `number ${n}`); });
      void Promise.reject(new Error('nobody caught it'));
    }
    for (let n = 0; n < 30; n += 1) await fetch(`/other.html?${n}`);
  });
  await until('ten errors', async () => edge.events('outcome').filter(({ metric }) => metric === 'error').length >= 10);
  await until('two durations', async () => edge.events('outcome').filter(({ metric }) => metric === 'latency_ms').length >= 2);
  await sleep(500);
  await empties(page);
  const count = (name) => edge.events('outcome').filter(({ metric }) => metric === name).length;
  assert.equal(count('error'), 10);
  assert.ok(count('latency_ms') >= 2 && count('latency_ms') <= 10, `${count('latency_ms')}`);
  for (const { metric, value } of edge.events('outcome')) if (metric === 'latency_ms') assert.ok(value > 0 && value < 60_000, `${value}`);
  assert.ok(!JSON.stringify(edge.events()).includes('nobody caught'), 'an error\'s words stay in the page');
});

story('OpenFeature\'s own tracking is heard, and a page without units or flags is left alone', async ({ edge, open }) => {
  const page = await open();
  await page.evaluate(() => {
    window.client.track('conversion');
    window.client.track('revenue', { value: 12.5, currency: 'EUR' });
  });
  await arrives(edge, 2, 'through OpenFeature');
  assert.deepEqual(edge.events('outcome').map(({ metric, value }) => [metric, value]), [['conversion', undefined], ['revenue', 12.5]]);
  const nobody = await open({ unit: undefined, provider: isReal ? {} : undefined });
  assert.ok((await track(nobody, 3)).every((place) => place === 'dropped'));
  assert.equal((await status(nobody)).dropped.unit_missing, 3);
  await use(nobody, 'flag-00', 'no-such-flag');
  assert.deepEqual(await nobody.evaluate(() => window.thrown), []);
});

story('a key that is wrong loses nothing: events wait, rarely asked for', async ({ edge, open }) => {
  const nameless = await open({ provider: null, options: { key: undefined, edge: undefined } });
  await track(nameless, 1);
  assert.deepEqual(await nameless.evaluate(() => [typeof window.flagfuse(), window.thrown.length]), ['object', 0]);
  const page = await open({ provider: null });
  const key = edge.key;
  edge.key = `${key}-rotated`;
  await track(page, 4);
  await sleep(1_500);
  assert.equal((await status(page)).pending, 4);
  edge.key = key;
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await arrives(edge, 4, 'once it is right');
}, { needsOwnEdge: true });

story('answers that are no JSON, or JSON of another shape, acknowledge nothing and break nothing', async ({ edge, open }) => {
  const bodies = ['<!doctype html>', '', '{', 'null', '[]', '5', '"accepted"', '{"accepted":"all"}', '{"accepted":5,"quarantined":[null]}'];
  // Round again until the page was asked what it makes of them.
  edge.fault = (body, at) => ({ status: 200, body: bodies[at % bodies.length], headers: { 'content-type': 'application/json' } });
  const page = await open();
  await track(page, 5);
  await until('all have answered', async () => {
    await page.evaluate(() => window.dispatchEvent(new Event('online')));
    return edge.requests.length >= bodies.length;
  }, { pauseMs: 50, seen: () => edge.requests.length });
  assert.deepEqual(await page.evaluate(() => window.ff.status().accepted), 0);
  edge.fault = () => undefined;
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await arrives(edge, 5, 'at the edge');
  assert.deepEqual(await page.evaluate(() => [window.drops, window.thrown]), [[], []]);
});

story('evaluations that are no JSON are nobody\'s exposures', async ({ edge, context }) => {
  edge.flagFault = () => ({ status: 200, body: '<!doctype html>', headers: { 'content-type': 'text/html' } });
  const page = await world.load(context);
  await within('the page starts', page.evaluate((options) => window.start(options).catch(() => undefined), { edge: edge.url, key: edge.key, unit: unitName() }));
  assert.deepEqual(await use(page, 'flag-00'), [false]);
  edge.flagFault = () => undefined;
  await track(page, 2);
  await arrives(edge, 2, 'without a ticket, after a while');
  assert.deepEqual(edge.events('exposure'), []);
  assert.deepEqual(await page.evaluate(() => [window.drops, window.thrown]), [[], []]);
}, { needsOwnEdge: true });

story('a hook without a targeting key enrols nobody, and says so', async ({ edge, open }) => {
  const page = await open({ unit: undefined });
  await use(page, 'flag-00', 'flag-10', 'no-such-flag');
  assert.deepEqual((await status(page)).dropped, { unit_missing: 1 });
  const [{ code, reason }] = await page.evaluate(() => window.drops);
  assert.deepEqual([code, reason], ['unit_missing', 'the context of flag "flag-00" has no targetingKey']);
  await page.evaluate(() => window.OpenFeature.setContext({ targetingKey: { not: 'a text' } }).catch(() => undefined));
  await use(page, 'flag-00');
  assert.equal((await status(page)).dropped.unit_missing, 2);
  await sleep(400);
  assert.deepEqual([edge.events(), await page.evaluate(() => window.thrown)], [[], []]);
}, { needsOwnEdge: true });

story('10,000 calls of track in a second: what is kept arrives once, what is not is said, and the page goes on', async ({ edge, open }) => {
  const page = await open({ options: { gatherMs: 20 } });
  const { places, late } = await page.evaluate(() => new Promise((resolve) => {
    const places = [];
    const [began, late] = [performance.now(), []];
    // 100 calls every 10 ms, as a page that does it goes on working.
    const timer = setInterval(() => {
      late.push(performance.now());
      for (let n = 0; n < 100; n += 1) places.push(window.ff.track('conversion', { value: places.length }));
      if (places.length < 10_000) return;
      clearInterval(timer);
      resolve({ places, late: late.length, took: performance.now() - began });
    }, 10);
  }));
  assert.deepEqual([places.length, late], [10_000, 100]);
  const kept = places.flatMap((place, value) => (place === 'stored' ? [value] : []));
  const dropped = (await status(page)).dropped.queue_full ?? 0;
  assert.equal(kept.length + dropped, 10_000);
  assert.ok(kept.length >= 1_000, `${kept.length}`);
  await arrives(edge, kept.length, 'all that was kept');
  assert.deepEqual(edge.events('outcome').map(({ value }) => value).sort((a, b) => a - b), kept);
  console.log(`# 10,000 calls in a second: ${kept.length} kept and arrived, ${dropped} refused`);
  assert.deepEqual(await page.evaluate(() => window.thrown), []);
});

story('a tab that slept for days sends what waited with its ticket, and what comes after with the next one', async ({ edge, context }) => {
  const slept = 4 * DAY_MS;
  const fresh = edge.ticketOf.bind(edge);
  const unit = unitName();
  const page = await world.load(context);
  // Four days ago, by its clock.
  await page.evaluate((ms) => {
    window.realNow = Date.now.bind(Date);
    Date.now = () => window.realNow() - ms;
  }, slept);
  edge.ticketOf = (name, at = Date.now() - slept) => fresh(name, at);
  edge.fault = () => ({ cuts: true });
  const provider = { changeDetection: 'polling', pollInterval: 500 };
  await within('the page starts', page.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, unit, provider }));
  await use(page, 'flag-00');
  await track(page, 2);
  // The steady clock stood still meanwhile; the answer it has is of four days ago.
  await page.evaluate(() => { Date.now = window.realNow; });
  await slowDown(page);
  await use(page, 'flag-01');
  await track(page, 3);
  edge.ticketOf = fresh;
  edge.fault = () => undefined;
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await arrives(edge, 5, 'before and after');
  await until('both exposures', async () => edge.events('exposure').length === 2);
  await empties(page);
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), [], 'each with a ticket of its day');
  const days = [...edge.ledger.values()].map(({ event }) => Number(event.ticket.split('.')[1]));
  assert.equal(new Set(days).size, 2, `tickets of two days: ${days}`);
  assert.deepEqual((await status(page)).dropped, {});
}, { needsOwnEdge: true });
