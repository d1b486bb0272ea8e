// What the stories in a real browser have in common: a browser, for each story an edge and a profile of its own, and waiting with bounds.
// With FLAGFUSE_EDGE and FLAGFUSE_KEY the pages talk to a real edge, through one that keeps the ledger.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sleep, until, within } from '../../../tests/node/bounded.mjs';
import { chromiumPath, startBrowser } from './browser.mjs';
import { Edge } from './edge.mjs';

/** How long tabs go through everything at once. */
export const CHAOS_S = Number(process.env.FLAGFUSE_WEB_CHAOS_S ?? 10);
/** How long the network is away. */
export const OFFLINE_S = Number(process.env.FLAGFUSE_OFFLINE_S ?? 3);
/** Each wait inside has a bound of its own, and stories have many of them. */
const TEST_MS_MAX = 900_000 + 1_000 * (CHAOS_S + OFFLINE_S);
const executablePath = chromiumPath();
const upstream = process.env.FLAGFUSE_EDGE;
/** What only the edge of the tests can be made to do. */
export const isReal = upstream !== undefined;
export let world;

before(async () => {
  if (executablePath) world = await startBrowser(executablePath);
});
after(() => world?.close());

/** A test with an edge and a browser profile of its own, which end with it; with a browser of its own where it needs one that caches pages. */
export function story(name, tell, { needsOwnEdge = false, needsCache = false } = {}) {
  const path = needsCache ? chromiumPath({ cachesPages: true }) : executablePath;
  const skip = path === undefined ? 'Chromium is not installed' : needsOwnEdge && isReal ? 'needs the edge of the tests' : false;
  test(name, { skip, timeout: TEST_MS_MAX }, async () => {
    const edge = await Edge.start({ upstream, ...(isReal && { key: process.env.FLAGFUSE_KEY }) });
    const own = path === executablePath ? world : await startBrowser(path);
    const context = await own.profile();
    try {
      const open = (more = {}) => own.open(context, edge, { unit: unitName(), ...more });
      await tell({ edge, context, open, world: own });
      assert.deepEqual(edge.conflicts, [], 'an id came again with other words');
      assert.equal(edge.preflights, 0, 'events cost a preflight');
    } finally {
      await within('the profile closes', context.close());
      edge.close();
      if (own !== world) await own.close();
    }
  });
}

let units = 0;
export const unitName = () => `visitor-${Date.now()}-${units += 1}`;

export const track = (page, count, name) => within('the page tracks', page.evaluate(([count, name]) => window.trackMany(count, name), [count, name]));
export const status = (page) => within('the page tells', page.evaluate(() => window.ff.status()));

/** Waits until the edge has acknowledged so many outcomes, and makes sure that it stays at that: nothing lost, nothing doubled. */
export async function arrives(edge, count, what, { settle_ms = 300 } = {}) {
  await until(`${what}: ${count} outcomes`, async () => edge.events('outcome').length >= count, {
    seen: () => ({ outcomes: edge.events('outcome').length, requests: edge.requests.map(({ kind, status, events }) => [kind, status, events.length]) }),
  });
  await sleep(settle_ms);
  assert.equal(edge.events('outcome').length, count, what);
}

export async function empties(page) {
  await until('the queue is empty', async () => (await status(page)).pending === 0);
}

/** The page's clocks go ten times slower from now on: no pause of the machine is taken for ten seconds without a ticket. */
export const slowDown = (page) => page.evaluate(() => {
  for (const clock of [Date, performance]) {
    const [now, began] = [clock.now.bind(clock), clock.now()];
    clock.now = () => began + (clock === Date ? Math.floor((now() - began) / 10) : (now() - began) / 10);
  }
});

/** Does it again where the browser, and not the page, has spoilt it: one that stands still for a moment lets go of a tab without a word. */
export async function attempts(what, act, countMax = 5) {
  for (let count = 1; count <= countMax; count += 1) if (await act(count)) return;
  assert.fail(`${what}: not in ${countMax} attempts`);
}

/** Back to the page before, wherever the browser has it from; answered before this one goes. */
export const goBack = (page) => page.evaluate(() => void setTimeout(() => history.back()));

export const use = (page, ...flags) => page.evaluate((flags) => flags.map((name) => window.flag(name)), flags);
