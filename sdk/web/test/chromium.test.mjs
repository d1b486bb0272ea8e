// The package in a real browser: what was acknowledged to the page arrives once, whatever becomes of tab, network, storage and
// clock. With FLAGFUSE_EDGE and FLAGFUSE_KEY the same pages talk to a real edge, through one that keeps the ledger.
import assert from 'node:assert/strict';
import { sleep, until, within } from '../../../tests/node/bounded.mjs';
import { arrives, attempts, CHAOS_S, empties, goBack, isReal, OFFLINE_S, slowDown, status, story, track, unitName, use, world } from './story.mjs';

const HOUR_MS = 3_600_000;
/** How long a beacon may be under way before it is taken for one that the browser never let the page send. */
const BEACON_MS = 20_000;
/** Of the chaos: what has to be acknowledged to pages before it may end, and after how many acts it ends anyway. */
const [ENOUGH, ACTS_MAX] = [20, 500];

/** A visitor whom each of the flags shows this arm. */
const visitorIn = (edge, arm, flags) => {
  for (;;) {
    const unit = unitName();
    if (flags.every((flag) => edge.variationOf(flag, unit) === arm)) return unit;
  }
};

story('a page with 20 flags enrols its unit for those that it used, in both arms, once', async ({ edge, open }) => {
  const used = ['flag-00', 'flag-02'];
  const shown = new Map();
  const pages = [];
  for (let n = 0; n < 12; n += 1) {
    const unit = visitorIn(edge, n % 2 === 0 ? 'on' : 'off', used);
    const page = await open({ unit });
    pages.push(page);
    for (let render = 0; render < 20; render += 1) shown.set(unit, await use(page, ...used, 'flag-10'));
    assert.equal((await status(page)).pending <= 2, true);
  }
  await until('24 exposures', async () => edge.events('exposure').length >= 24, { seen: () => edge.events('exposure').length });
  // Reloaded and in a second tab, they are no new exposures.
  for (const page of pages.slice(0, 2)) {
    await empties(page);
    const unit = await page.evaluate(() => window.OpenFeature.getContext().targetingKey);
    await use(await open({ unit }), ...used);
  }
  await sleep(500);
  // A unit by another name between them was the last to leave its mark, so that these may repeat themselves; it enrols nobody anew.
  const exposures = edge.events('exposure');
  const enrolled = edge.enrolled();
  assert.deepEqual([...enrolled.keys()].sort(), ['flag-00 1', 'flag-02 3']);
  const arms = new Set();
  used.forEach((flag, at) => {
    const place = `${flag} ${flag === 'flag-02' ? 3 : 1}`;
    assert.equal(enrolled.get(place).size, 12);
    for (const [unit, values] of shown) {
      arms.add(`${flag} ${values[at]}`);
      assert.equal(enrolled.get(place).get(unit), values[at] ? 'on' : 'off');
    }
  });
  assert.equal(arms.size, 4, 'both arms of both flags');
  for (const page of pages) assert.deepEqual(await page.evaluate(() => [window.drops, window.thrown]), [[], []]);
  assert.ok(exposures.length >= 24 && exposures.length <= 28, `${exposures.length}`);
  assert.ok(exposures.every(({ version, ticket }) => version && ticket), 'with version and ticket');
}, { needsOwnEdge: true });

story('an exposure is stored before the value is handed over, and once for a unit over tabs and loads', async ({ edge, context, open }) => {
  edge.fault = () => ({ status: 503 });
  const unit = unitName();
  const page = await open({ unit });
  const stored = await page.evaluate(() => {
    window.flag('flag-01');
    return Object.entries({ ...localStorage }).filter(([name]) => name.includes('.q.')).map(([, text]) => JSON.parse(text).e);
  });
  assert.equal(stored.length, 1);
  assert.equal(stored[0].flag, 'flag-01');
  for (let n = 0; n < 2; n += 1) await use(await open({ unit }), 'flag-01');
  edge.fault = () => undefined;
  await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await until('the exposure', async () => edge.events('exposure').length > 0);
  await sleep(400);
  assert.equal(edge.events('exposure').length, 1);
  void context;
}, { needsOwnEdge: true });

story('nothing is lost or doubled when the tab is closed', async ({ edge, context, open }) => {
  let count = 0;
  // A tab that does not answer half a second after it was closed is killed: then nobody was told that it closes.
  await attempts('a beacon of a tab that closes', async () => {
    const page = await open({ options: { gatherMs: 60_000 } });
    assert.ok((await track(page, 30)).every((place) => place === 'stored'));
    count += 30;
    await within('the tab closes', page.close({ runBeforeUnload: false }));
    const isThere = async () => edge.requests.some(({ kind }) => kind === 'beacon');
    return until('the beacon', isThere, { limitMs: BEACON_MS }).catch(() => false);
  });
  await until('30 outcomes by beacon', async () => edge.events('outcome').length >= 30, { seen: () => edge.requests });
  assert.ok(edge.requests.every(({ type }) => type.startsWith('text/plain')));
  // The next page has them acknowledged with the same ids.
  const next = await open();
  await empties(next);
  await arrives(edge, count, 'and again by the next page');
  void context;
});

story('nothing is lost when the tab dies in the middle of it', async ({ edge, context, open }) => {
  const page = await open({ options: { gatherMs: 60_000 } });
  await track(page, 25);
  const died = new Promise((resolve) => page.once('crash', resolve));
  page.goto('chrome://crash').catch(() => undefined);
  await within('the tab dies', died);
  assert.equal(edge.events().length, 0);
  await open();
  await arrives(edge, 25, 'after the crash');
  void context;
});

story('a while offline loses nothing', async ({ edge, context, open }) => {
  const page = await open();
  await context.setOffline(true);
  for (let n = 0; n < 4; n += 1) {
    await track(page, 10);
    await sleep(OFFLINE_S * 250);
  }
  assert.equal(edge.events().length, 0);
  await context.setOffline(false);
  await arrives(edge, 40, 'online again');
  await empties(page);
});

story('without storage nothing is lost while the tab lives, and a beacon takes what is left', async ({ edge, open }) => {
  const page = await open({ path: '/sandbox.html' });
  assert.equal(await page.evaluate(() => {
    try {
      return String(localStorage.length);
    } catch (error) {
      return error.name;
    }
  }), 'SecurityError');
  assert.ok((await track(page, 20)).every((place) => place === 'memory'));
  await arrives(edge, 20, 'from memory');
  await empties(page);
  if (!isReal) {
    for (let render = 0; render < 5; render += 1) await use(page, 'flag-01');
    await until('its exposure', async () => edge.events('exposure').length > 0);
    await use(page, 'flag-01');
    await empties(page);
    assert.equal(edge.events('exposure').length, 1);
  }
  const failing = edge.requests.length + 2;
  edge.fault = (body, at) => (at < failing ? { status: 503 } : undefined);
  await track(page, 10);
  await arrives(edge, 30, 'after failures');
  let last = page;
  // What is in the memory of a tab that the browser kills before it hears that it closes is gone.
  await attempts('a beacon of a tab that closes', async (attempt) => {
    if (attempt > 1) last = await open({ path: '/sandbox.html' });
    const before = edge.events('outcome').length;
    await last.evaluate(() => { window.trackMany(5); });
    await within('the tab closes', last.close({ runBeforeUnload: false }));
    return until('five more', async () => edge.events('outcome').length >= before + 5, { limitMs: BEACON_MS }).catch(() => false);
  });
  await arrives(edge, edge.events('outcome').length, 'by beacon');
  assert.equal(edge.events('outcome').length % 5, 0, 'all five');
});

story('where the browser has no locks, events arrive too, and under one id', async ({ edge, open }) => {
  const path = `http://insecure.test:${new URL(world.site.url).port}/page.html`;
  const unit = unitName();
  const [first, second] = [await open({ unit, path }), await open({ unit, path })];
  assert.equal(await first.evaluate(() => navigator.locks), undefined);
  edge.fault = () => ({ slowMs: 100 });
  for (let n = 0; n < 5; n += 1) {
    await Promise.all([track(first, 10), track(second, 10)]);
    await sleep(80);
  }
  await arrives(edge, 100, 'of both', { settle_ms: 1_000 });
  await empties(first);
  await empties(second);
});

story('what waited for more than 7 days is let go of and said, and what nobody can read does no harm', async ({ edge, open }) => {
  const page = await open({ options: { gatherMs: 60_000 } });
  await track(page, 3);
  await page.evaluate(() => {
    window.ff.close();
    const names = Object.keys({ ...localStorage }).filter((name) => name.includes('.q.')).sort();
    const old = JSON.parse(localStorage[names[0]]);
    old.e.occurred_ms -= 7 * 86_400_000 + 60_000;
    localStorage[names[0]] = JSON.stringify(old);
    localStorage[names[1]] = localStorage[names[1]].slice(0, 40);
    localStorage[`${names[1]}x`] = 'null';
  });
  const next = await open();
  await arrives(edge, 1, 'the one that is left');
  await empties(next);
  assert.deepEqual((await status(next)).dropped, { expired: 1 });
  assert.deepEqual(await next.evaluate(() => window.thrown), []);
});

story('with a full storage events are kept in memory', async ({ edge, open }) => {
  const page = await open();
  await page.evaluate(() => {
    const put = (size) => {
      try {
        for (let n = 0; ; n += 1) localStorage.setItem(`fill-${size}-${n}`, 'x'.repeat(size));
      } catch {
        // Full.
      }
    };
    for (const size of [500_000, 10_000, 100, 1]) put(size);
  });
  assert.ok((await track(page, 20)).every((place) => place === 'memory'));
  await arrives(edge, 20, 'from memory');
  assert.deepEqual(await page.evaluate(() => [window.drops, window.thrown]), [[], []]);
});

story('two tabs send every event, and none under two ids', async ({ edge, open }) => {
  edge.fault = () => ({ slowMs: 150 });
  const unit = unitName();
  const [first, second] = [await open({ unit }), await open({ unit })];
  for (let n = 0; n < 5; n += 1) {
    await Promise.all([track(first, 20), track(second, 20)]);
    await sleep(120);
  }
  await arrives(edge, 200, 'both tabs', { settle_ms: 1_000 });
  await empties(first);
  const times = [...edge.ledger.values()].map((entry) => entry.times);
  console.log(`# two tabs: ${edge.requests.length} requests for 200 events`);
  assert.ok(times.every((count) => count === 1), 'one of them sends at a time');
  // One of them goes away while it sends; the other one has everything.
  await Promise.all([track(first, 20), track(second, 20)]);
  await within('the tab closes', first.close({ runBeforeUnload: false }));
  await arrives(edge, 240, 'the other tab');
  await empties(second);
});

story('what a tab leaves behind is acknowledged to one that stays, though that one has nothing to say', async ({ edge, open }) => {
  const unit = unitName();
  const stays = await open({ unit });
  await track(stays, 1);
  await empties(stays);
  const leaves = await open({ unit, options: { gatherMs: 60_000 } });
  await track(leaves, 5);
  await within('the tab closes', leaves.close({ runBeforeUnload: false }));
  await arrives(edge, 6, 'by beacon');
  await empties(stays);
  await arrives(edge, 6, 'and again by the tab that stays');
});

story('the back-forward cache keeps a page that goes on where it was', async ({ edge, open, world }) => {
  // It lets go of a page whenever it likes: where memory is short, or where the page takes seconds to be put away.
  await attempts('a page comes out of the cache', async () => {
    const before = edge.events('outcome').length;
    const page = await open({ options: { gatherMs: 400 } });
    await track(page, 15);
    await page.evaluate(() => { window.mark = 'the same page'; });
    await page.goto(`${world.site.url}/other.html`);
    await arrives(edge, before + 15, 'when it was left');
    // Chromium waits for the page's events, which it does not tell for one that comes out of its cache.
    await goBack(page);
    await until('a page is back', () => page.evaluate(() => Array.isArray(window.pageshows)).catch(() => false));
    if (!(await page.evaluate(() => window.mark === 'the same page'))) return false;
    await until('it is shown', () => page.evaluate(() => window.pageshows.length > 1));
    assert.deepEqual(await page.evaluate(() => window.pageshows), [false, true], 'it came out of the cache');
    await track(page, 10);
    await arrives(edge, before + 25, 'back again');
    await empties(page);
    return true;
  });
}, { needsCache: true });

story('a page that is left while it sends may still be cached', async ({ edge, open, world }) => {
  edge.fault = () => ({ hangs: true });
  const page = await open();
  await track(page, 15);
  await until('a request hangs', async () => page.evaluate(() => performance.now() > 0 && navigator.locks.query().then(({ held }) => held.length > 0)));
  await page.evaluate(() => { window.mark = 'the same page'; });
  await page.goto(`${world.site.url}/other.html`);
  await sleep(300);
  await goBack(page);
  await until('the page is back', () => page.evaluate(() => Array.isArray(window.pageshows)).catch(() => false));
  const isCached = await page.evaluate(() => window.mark === 'the same page');
  console.log(`# left while a request hung: ${isCached ? 'cached' : 'not cached'}`);
  edge.fault = () => undefined;
  if (!isCached) await page.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, unit: 'x' });
  await arrives(edge, 15, 'after the edge came back');
}, { needsCache: true });

story('a clock that is set back spoils no time and loses nothing', async ({ edge, open }) => {
  const page = await open({ options: { gatherMs: 700 } });
  const began = Date.now();
  const setBack = (page, ms) => page.evaluate((ms) => {
    const real = Date.now.bind(Date);
    Date.now = () => real() - ms;
  }, ms);
  await track(page, 5);
  await setBack(page, 2 * HOUR_MS);
  await track(page, 5);
  await setBack(page, 24 * HOUR_MS);
  await track(page, 5);
  await arrives(edge, 15, 'set back while the page is open');
  // Left by a page, sent by the next one, between which the clock was set back.
  edge.fault = () => ({ cuts: true });
  const second = await open();
  await track(second, 5);
  await sleep(300);
  await within('the tab closes', second.close({ runBeforeUnload: false }));
  await sleep(300);
  edge.fault = () => undefined;
  const third = await world.load(page.context());
  await setBack(third, 2 * HOUR_MS);
  await third.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, unit: unitName() });
  await arrives(edge, 20, 'set back between pages');
  await empties(third);
  if (!isReal) {
    for (const { corrected } of edge.ledger.values()) {
      assert.ok(corrected >= began - 1_500 && corrected <= Date.now() + 1_500, `${corrected - began} ms after the test began`);
    }
  }
});

story('a lost answer, failures and Retry-After: the same ids again, never earlier than asked', async ({ edge, open }) => {
  edge.fault = (body, at) => [{ losesAnswer: true }, { status: 500 }, { status: 429, headers: { 'retry-after': '2' } }][at];
  const page = await open();
  await track(page, 10);
  await arrives(edge, 10, 'at last');
  await empties(page);
  const asked = edge.requests.findIndex(({ status }) => status === 429);
  assert.ok(asked >= 0, JSON.stringify(edge.requests.map(({ status }) => status)));
  const pause = edge.requests[asked + 1].at - edge.requests[asked].at;
  assert.ok(pause >= 1_990, `${pause} ms after a Retry-After of 2 s`);
  assert.ok([...edge.ledger.values()].every(({ times }) => times === 2));
});

story('a server that asks for time is not asked by the next page either', async ({ edge, open }) => {
  edge.fault = () => ({ status: 503, headers: { 'retry-after': '3' } });
  const page = await open();
  await track(page, 3);
  await until('it was asked, and knows it', () => page.evaluate(() => Object.keys({ ...localStorage }).some((name) => name.endsWith('.wait'))));
  await within('the page goes', page.evaluate(() => window.ff.close()));
  const next = await open();
  await track(next, 1);
  await sleep(1_500);
  edge.fault = () => undefined;
  await arrives(edge, 4, 'later');
  // However long the page took to open: nobody has asked before the time was over.
  const [first, second] = edge.requests.filter(({ kind }) => kind === 'fetch');
  assert.ok(second.at - first.at >= 2_990, `${second.at - first.at} ms after a Retry-After of 3 s`);
});

story('without consent nothing is stored, kept or sent, and taking it back erases everything', async ({ edge, open }) => {
  const page = await open({ options: { consent: false } });
  const own = () => page.evaluate(() => Object.keys({ ...localStorage }).filter((name) => name.startsWith('flagfuse.')));
  await use(page, 'flag-00');
  const [unit, again] = await page.evaluate(() => [window.ff.deviceUnit(), window.ff.deviceUnit()]);
  assert.equal(unit, again);
  assert.ok((await track(page, 5)).every((place) => place === 'dropped'));
  await sleep(400);
  assert.deepEqual([await own(), edge.requests.length], [[], 0]);
  assert.equal((await status(page)).withheld, 6, 'a use and five outcomes');

  await page.evaluate(() => window.ff.setConsent(true));
  await use(page, 'flag-00');
  await track(page, 5);
  await arrives(edge, 5, 'with consent');
  assert.ok((await own()).some((name) => name.endsWith('.unit')));
  assert.equal(await page.evaluate(() => window.ff.deviceUnit()), unit, 'now it is kept');

  edge.fault = () => ({ hangs: true });
  await track(page, 5);
  await until('a request hangs', async () => edge.hanging > 0);
  await page.evaluate(() => window.ff.setConsent(false));
  edge.fault = () => undefined;
  await track(page, 5);
  assert.deepEqual(await own(), []);
  assert.notEqual(await page.evaluate(() => window.ff.deviceUnit()), unit);
  await within('the tab closes', page.close({ runBeforeUnload: false }));
  await sleep(500);
  assert.equal(edge.events('outcome').length, 5, 'nothing after it');
});

story('later events are the new unit\'s, and answers of the old one are nobody\'s exposures', async ({ edge, open }) => {
  const page = await open({ unit: 'ann' });
  await slowDown(page);
  await use(page, 'flag-00');
  await track(page, 1);
  // The provider still has ann's answers while bob's are on their way.
  edge.flagFault = () => ({ slowMs: 400 });
  const meanwhile = await page.evaluate(async () => {
    const changed = window.OpenFeature.setContext({ targetingKey: 'bob' });
    window.flag('flag-01');
    window.ff.track('conversion');
    const { pending } = window.ff.status();
    await changed;
    return pending;
  });
  assert.ok(meanwhile >= 1);
  edge.flagFault = () => undefined;
  await use(page, 'flag-00', 'flag-01');
  await track(page, 1);
  await arrives(edge, 3, 'of both');
  await until('three exposures', async () => edge.events('exposure').length >= 3);
  await empties(page);
  assert.deepEqual(edge.events('exposure').map(({ unit, flag }) => `${unit} ${flag}`).sort(), ['ann flag-00', 'bob flag-00', 'bob flag-01']);
  assert.deepEqual(edge.events('outcome').map(({ unit }) => unit), ['ann', 'bob', 'bob']);
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), [], 'each with its unit\'s ticket');
  // Where bob's answers never came, ann's are still not his.
  edge.flagFault = () => ({ status: 500 });
  await page.evaluate(() => window.OpenFeature.setContext({ targetingKey: 'cleo' }));
  await use(page, 'flag-02', 'flag-03');
  await sleep(400);
  assert.equal(edge.events('exposure').length, 3);
}, { needsOwnEdge: true });

story('where there are no tickets, a changing context alone says whose the answers are', async ({ edge, open }) => {
  edge.hasTickets = false;
  const page = await open({ unit: 'ann' });
  edge.flagFault = () => ({ slowMs: 300 });
  await page.evaluate(async () => {
    const changed = window.OpenFeature.setContext({ targetingKey: 'bob' });
    for (const name of ['flag-00', 'flag-01', 'flag-02', 'flag-03']) window.flag(name);
    await changed;
  });
  await use(page, 'flag-02');
  await track(page, 1);
  await arrives(edge, 1, 'at once, with nothing to wait for');
  await empties(page);
  assert.deepEqual(edge.events('exposure').map(({ unit, flag }) => `${unit} ${flag}`), ['bob flag-02']);
  assert.deepEqual(await page.evaluate(() => window.drops), []);
}, { needsOwnEdge: true });

story('units may have another name than the targeting key', async ({ edge, open }) => {
  edge.attributes.set('flag-03', 'company');
  const page = await open({ unit: 'ann', attributes: { company: 42 }, options: { unitAttributes: { 'flag-03': 'company' } } });
  await use(page, 'flag-00', 'flag-03', 'flag-03');
  await track(page, 1);
  await arrives(edge, 2, 'for the person and for the company');
  await empties(page);
  assert.deepEqual(edge.events('exposure').map(({ unit, flag }) => `${unit} ${flag}`), ['ann flag-00', '42 flag-03']);
  assert.deepEqual(edge.events('outcome').map(({ unit }) => unit), ['ann', '42']);
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), []);
  // Where all flags of a page go by one attribute, the tickets say so.
  edge.ticketOf = ((real) => (unit, at) => (unit === 'nobody' ? undefined : real(unit, at)))(edge.ticketOf.bind(edge));
  const company = await open({ unit: 'nobody', attributes: { company: 7 } });
  await use(company, 'flag-03');
  await until('its exposure', async () => edge.events('exposure').some(({ unit }) => unit === '7'));
  assert.deepEqual(await company.evaluate(() => window.drops), []);
}, { needsOwnEdge: true });

story('an exposure says into which slices its context has put the unit, where the flag has any', async ({ edge, open }) => {
  edge.slices.set('flag-02', ({ device }) => `${['mobile', 'desktop'].indexOf(device) + 1}.0`);
  for (const attributes of [{ device: 'desktop' }, { device: 'mobile' }, {}]) await use(await open({ attributes }), 'flag-00', 'flag-02');
  await until('six exposures', async () => edge.events('exposure').length === 6, { seen: () => edge.events() });
  const told = edge.events('exposure').map(({ flag, slices }) => `${flag} ${slices}`).sort();
  assert.deepEqual(told, ['flag-00 undefined', 'flag-00 undefined', 'flag-00 undefined', 'flag-02 0.0', 'flag-02 1.0', 'flag-02 2.0']);
}, { needsOwnEdge: true });

story('what happens before the first answer waits for its ticket', async ({ edge, open }) => {
  const answered = Promise.withResolvers();
  edge.flagFault = () => ({ until: answered.promise });
  const page = await world.load((await open({ provider: null })).context());
  await slowDown(page);
  const started = page.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, unit: 'early' });
  await until('the package runs', () => page.evaluate(() => window.ff !== undefined));
  await track(page, 3);
  await sleep(600);
  assert.equal(edge.events().length, 0);
  answered.resolve();
  await within('the page starts', started);
  await arrives(edge, 3, 'with tickets');
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), []);
}, { needsOwnEdge: true });

story('the ticket of an old cache is replaced before it is used', async ({ edge, open, context }) => {
  const unit = 'sleeper';
  const fresh = edge.ticketOf.bind(edge);
  edge.ticketOf = (name, at = Date.now() - 4 * 24 * HOUR_MS) => fresh(name, at);
  const options = { unit, provider: { cacheMode: 'local-cache-first' } };
  await within('the tab closes', (await open(options)).close());
  edge.ticketOf = fresh;
  edge.flagFault = () => ({ slowMs: 800 });
  const page = await open(options);
  await slowDown(page);
  await use(page, 'flag-00');
  await track(page, 2);
  await arrives(edge, 2, 'with the new ticket');
  await until('the exposure', async () => edge.events('exposure').length > 0);
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), []);
  void context;
}, { needsOwnEdge: true });

story('the page of docs/events.md works as it stands', async ({ edge, context }) => {
  const page = await world.load(context, `/events.html?edge=${encodeURIComponent(edge.url)}&key=${encodeURIComponent(edge.key)}`);
  await until('its exposure', async () => edge.events('exposure').some(({ flag }) => flag === 'one-click'));
  await page.click('button');
  await until('its outcome', async () => edge.events('outcome').some(({ metric }) => metric === 'conversion'));
  const [exposure] = edge.events('exposure');
  assert.ok(edge.events('outcome').every(({ unit }) => unit === exposure.unit));
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), []);
});

story('tabs that come, go, crash, sleep in the cache and lose edge, network and time lose nothing and double nothing', async ({ edge, context, world }) => {
  const seed = Number(process.env.FLAGFUSE_WEB_SEED ?? Date.now() % 100_000);
  console.log(`# FLAGFUSE_WEB_SEED=${seed}`);
  let state = seed;
  const draw = (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  const faults = [
    undefined, undefined, undefined, { cuts: true }, { losesAnswer: true }, { slowMs: 300 }, { status: 503 }, { status: 500 },
    { status: 429, headers: { 'retry-after': '1' } }, { slowMs: 200, losesAnswer: true },
  ];
  edge.fault = () => faults[draw(faults.length)];
  const [tabs, acknowledged, did] = [[undefined, undefined, undefined], [], {}];
  let next = 0;
  const unit = unitName();
  const load = async (at) => {
    tabs[at] = await world.open(context, edge, { unit, options: { gatherMs: 30 + draw(300) } });
  };
  const acts = {
    // What the page was told is what counts; of a tab that dies before it says so, nobody knows.
    async tracks(at) {
      const from = next;
      next += 1 + draw(25);
      const told = await tabs[at].evaluate(([from, to]) => {
        const told = [];
        for (let n = from; n < to; n += 1) if (window.ff.track('conversion', { value: n }) === 'stored') told.push(n);
        return told;
      }, [from, next]);
      acknowledged.push(...told);
    },
    closes: async (at) => tabs[at].close({ runBeforeUnload: false }).then(() => load(at)),
    reloads: async (at) => tabs[at].goto(`${world.site.url}/other.html`).then(() => tabs[at].close()).then(() => load(at)),
    async crashes(at) {
      const died = new Promise((resolve) => tabs[at].once('crash', resolve));
      tabs[at].goto('chrome://crash').catch(() => undefined);
      await within('the tab dies', died);
      await tabs[at].close();
      await load(at);
    },
    async returns(at) {
      await tabs[at].goto(`${world.site.url}/other.html`);
      await sleep(draw(200));
      await goBack(tabs[at]);
      const page = tabs[at];
      await until('the page is back', () => page.evaluate(() => Array.isArray(window.pageshows)).catch(() => false));
      // Not from the cache: a new page.
      if (!(await page.evaluate(() => window.ff !== undefined))) await page.close().then(() => load(at));
    },
    async loses_the_network() {
      await context.setOffline(true);
      await sleep(draw(600));
      await context.setOffline(false);
    },
    sets_the_clock: (at) => tabs[at].evaluate((ms) => {
      const real = Date.now.bind(Date);
      Date.now = () => real() - ms;
    }, draw(3 * HOUR_MS)),
  };
  const names = ['tracks', 'tracks', 'tracks', 'tracks', ...Object.keys(acts)];
  for (const at of tabs.keys()) await load(at);
  const end = Date.now() + CHAOS_S * 1_000;
  for (let count = 0; Date.now() < end || (acknowledged.length <= ENOUGH && count < ACTS_MAX); count += 1) {
    const name = names[draw(names.length)];
    await within(name, acts[name](draw(tabs.length)));
    did[name] = (did[name] ?? 0) + 1;
  }
  edge.fault = () => undefined;
  for (const page of tabs) await page.evaluate(() => window.dispatchEvent(new Event('online')));
  // One whose clock was set back behind a Retry-After waits for as long as that was; whoever comes next has the right time.
  const last = await world.open(context, edge, { unit });
  await until('all queues are empty', async () => (await status(last)).pending === 0);
  const arrived = edge.events('outcome').map(({ value }) => value);
  console.log(`# ${acknowledged.length} events acknowledged to pages, ${arrived.length} arrived: ${JSON.stringify(did)}`);
  const known = new Set(arrived);
  assert.deepEqual(acknowledged.filter((value) => !known.has(value)), [], 'lost');
  assert.equal(known.size, arrived.length, 'none under two ids');
  assert.ok(arrived.length >= acknowledged.length && acknowledged.length > ENOUGH);
}, { needsCache: true });
