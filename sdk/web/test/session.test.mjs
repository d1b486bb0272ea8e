// Sessions in a real browser: one for a unit over all tabs, another one after half an hour of nothing, and none where nobody counts.
import assert from 'node:assert/strict';
import { sleep, until, within } from '../../../tests/node/bounded.mjs';
import { arrives, empties, status, story, track, unitName, use, world } from './story.mjs';

const MINUTE_MS = 60_000;
/** Time for what should not be sent. */
const QUIET_MS = 600;
const session = { options: { session: true } };

const sessions = (edge) => edge.events('outcome').filter(({ metric }) => metric === 'session').map(({ unit }) => unit);

/** The page's clock goes by so much from what it really is, and performance's stays. */
const moveClock = (page, ms) => page.evaluate((ms) => {
  window.realNow ??= Date.now.bind(Date);
  Date.now = () => window.realNow() + ms;
}, ms);

/** What a person does, in three ways. */
const act = async (page) => {
  await use(page, 'flag-00', 'flag-10');
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await track(page, 1);
};

const hide = (page, state) => page.evaluate((state) => {
  Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
  document.dispatchEvent(new Event('visibilitychange'));
}, state);

/** Waits for so many sessions, and makes sure that it stays at that. */
async function begin(edge, page, count, what) {
  await until(`${what}: ${count} sessions`, async () => sessions(edge).length >= count, { seen: () => edge.events() });
  await sleep(QUIET_MS);
  await empties(page);
  assert.equal(sessions(edge).length, count, what);
}

story('a session begins with a page, once over all tabs and loads, and again after half an hour', async ({ edge, open }) => {
  const unit = unitName();
  const first = await open({ unit, ...session });
  await begin(edge, first, 1, 'the page came, and nothing else was done');
  await act(first);
  const second = await open({ unit, ...session });
  await act(second);
  await begin(edge, second, 1, 'two tabs are one session');
  // The first one is left for half an hour; the second one's clock has not gone on, so for that one the first one's is set back.
  await moveClock(first, 20 * MINUTE_MS);
  await act(first);
  await begin(edge, first, 1, '20 minutes');
  await moveClock(first, 51 * MINUTE_MS);
  await act(first);
  await act(first);
  await begin(edge, first, 2, '31 minutes after it');
  await act(second);
  await act(await open({ unit, ...session }));
  await begin(edge, second, 2, 'the clock was set back between tabs');
  assert.deepEqual(new Set(sessions(edge)), new Set([unit]));
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), [], 'with tickets');
  assert.deepEqual(await first.evaluate(() => [window.drops, window.thrown]), [[], []]);
});

story('tabs that come in the same instant may both say so, and are one session from then on', async ({ edge, open }) => {
  const unit = unitName();
  const tabs = await Promise.all([1, 2, 3].map(() => open({ unit, ...session })));
  await Promise.all(tabs.map((page) => act(page)));
  await until('a session', async () => sessions(edge).length >= 1);
  await sleep(QUIET_MS);
  for (const page of tabs) await empties(page);
  // Before the browser has told them of each other's note: they count once all the same.
  const begun = sessions(edge).length;
  assert.ok(begun <= tabs.length, `${begun}`);
  for (const minutes of [2, 20, 40]) {
    for (const page of tabs) {
      await moveClock(page, minutes * MINUTE_MS);
      await act(page);
      await empties(page);
    }
  }
  await act(await open({ unit, ...session }));
  await begin(edge, tabs[0], begun, 'known to all');
});

story('a clock that is set back begins no session, and ends none', async ({ edge, open }) => {
  const page = await open(session);
  await begin(edge, page, 1, 'the page came');
  await moveClock(page, -120 * MINUTE_MS);
  await act(page);
  await begin(edge, page, 1, 'set back by two hours');
  await moveClock(page, -120 * MINUTE_MS + 31 * MINUTE_MS);
  await act(page);
  await begin(edge, page, 2, 'half an hour later');
});

story('without storage every page begins one, and no more', async ({ edge, open }) => {
  const unit = unitName();
  for (const count of [1, 2]) {
    const page = await open({ unit, path: '/sandbox.html', ...session });
    await act(page);
    // What waits while a clock is set forward looks five minutes older, and so older than a phase may be.
    await empties(page);
    await moveClock(page, 5 * MINUTE_MS);
    await act(page);
    await begin(edge, page, count, 'from memory');
  }
});

story('a full storage keeps the session of its page', async ({ edge, open }) => {
  const page = await open({ options: { session: false } });
  await page.evaluate(() => {
    try {
      for (let size = 1_000_000; size > 1; size = Math.ceil(size / 2)) {
        try {
          for (let n = 0; n < 50; n += 1) localStorage.setItem(`fill-${size}-${n}`, 'x'.repeat(size));
        } catch {
          // Full, for entries of that size.
        }
      }
    } catch {
      // Full.
    }
  });
  const next = await open(session);
  await act(next);
  await empties(next);
  await moveClock(next, 2 * MINUTE_MS);
  await act(next);
  await begin(edge, next, 1, 'from memory');
  assert.deepEqual(await next.evaluate(() => [window.drops, window.thrown]), [[], []]);
});

story('a tab that nobody sees is no visit until it is seen', async ({ edge, context }) => {
  const unit = unitName();
  const page = await world.load(context);
  await hide(page, 'hidden');
  await page.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, unit, ...session });
  await act(page);
  await arrives(edge, 1, 'what it tracks');
  assert.deepEqual(sessions(edge), []);
  await hide(page, 'visible');
  await begin(edge, page, 1, 'seen');
});

story('without consent there is no session, and its note goes with the consent', async ({ edge, open }) => {
  const notes = (page) => page.evaluate(() => Object.keys({ ...localStorage }).filter((name) => name.startsWith('flagfuse.')));
  const page = await open({ options: { session: true, consent: false } });
  await act(page);
  await sleep(QUIET_MS);
  assert.deepEqual([await notes(page), edge.requests.length], [[], 0]);
  await page.evaluate(() => window.ff.setConsent(true));
  await begin(edge, page, 1, 'agreed');
  assert.ok((await notes(page)).some((name) => name.endsWith('.s')));
  await page.evaluate(() => window.ff.setConsent(false));
  assert.deepEqual(await notes(page), []);
  await act(page);
  await sleep(QUIET_MS);
  assert.equal(sessions(edge).length, 1);
});

story('whoever switches it off has none, and neither has an environment without a fuse', async ({ edge, open }) => {
  await act(await open({ options: { session: false } }));
  await arrives(edge, 1, 'switched off');
  edge.phases.clear();
  const page = await open(session);
  await act(page);
  await arrives(edge, 2, 'no fuse watches anything');
  await empties(page);
  assert.deepEqual(sessions(edge), []);
}, { needsOwnEdge: true });

story('where there are no tickets, a use of a watched flag says that a fuse watches', async ({ edge, open }) => {
  edge.hasTickets = false;
  const page = await open(session);
  await use(page, 'flag-10');
  await sleep(QUIET_MS);
  assert.deepEqual(sessions(edge), []);
  await use(page, 'flag-00', 'flag-01', 'flag-00');
  await begin(edge, page, 1, 'a flag with a phase');
}, { needsOwnEdge: true });

story('each unit of a context has sessions of its own, also when the person changes', async ({ edge, open }) => {
  edge.attributes.set('flag-03', 'company');
  const page = await open({ unit: 'ann', attributes: { company: 42 }, ...session });
  await begin(edge, page, 2, 'ann and her company');
  const changes = (unit) => within('the context changes', page.evaluate((unit) => window.OpenFeature.setContext({ targetingKey: unit, company: 42 }), unit));
  await changes('bob');
  await begin(edge, page, 3, 'bob');
  await changes('ann');
  await act(page);
  await begin(edge, page, 3, 'ann again, within half an hour');
  assert.deepEqual(sessions(edge), ['ann', '42', 'bob']);
  assert.deepEqual([...edge.ledger.values()].filter(({ unproven }) => unproven), []);
}, { needsOwnEdge: true });

story('a note that nobody can read does no harm', async ({ edge, open }) => {
  const unit = unitName();
  const first = await open({ unit, ...session });
  await begin(edge, first, 1, 'the first');
  await within('the tab closes', first.close());
  for (const [at, text] of ['{"e":', 'null', '[null]', '[[5]]', '"x"', `[{"e":{"unit":"${unit}"}}]`].entries()) {
    const page = await open({ unit, provider: null });
    await page.evaluate((text) => {
      const [name] = Object.keys({ ...localStorage }).filter((name) => name.endsWith('.s'));
      localStorage[name] = text;
    }, text);
    await within('the tab closes', page.close());
    const next = await open({ unit, ...session });
    await begin(edge, next, at + 2, text);
    assert.deepEqual((await status(next)).dropped, {});
    await within('the tab closes', next.close());
  }
}, { needsOwnEdge: true });
