// What the page says while nothing tells it anything: the control plane is killed, the machine sleeps, the cable is pulled. It never
// shows an old state as a live one, and is right again without a reload.
import assert from 'node:assert/strict';
import { access, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { admin, EVERYTHING, FLAGS, LIMIT_MS, linkOf, open, PLACE, session, settled, stop, URL_, wire } from './page.mjs';

/** A file with `kill` or `start` in it moves the control plane; gone, it is done. */
const LEVER = process.env.FLAGFUSE_LEVER;

let state;

before(async () => {
  state = await session(await linkOf('editor'));
});
after(stop);

/** How soon a page has to notice is in feed.test.mjs, which has a clock of its own. */
const live = (page, status) => page.locator(`[data-live="${status}"]`).waitFor();
const change = (words) => admin('PATCH', `${FLAGS}/banner-text`, { description: `${words} ${Date.now()}` });

async function pull(lever) {
  await writeFile(LEVER, lever);
  for (const end = Date.now() + 2 * LIMIT_MS; Date.now() < end;) {
    if (await access(LEVER).then(() => false, () => true)) return;
    await new Promise((next) => setTimeout(next, 50));
  }
  assert.fail(`nobody pulled the lever within ${2 * LIMIT_MS} ms: ${lever}`);
}

/** A page that was opened once, and follows what happens. */
async function follow(at, { page }) {
  await page.goto(`${at}${PLACE}/propagation`);
  await settled(page);
  await live(page, 'live');
  await page.evaluate(() => (window.isOpenStill = true));
}

/** The newest version is there, each version once, and the page was not loaded anew. */
async function right(page, version) {
  await page.getByRole('region', { name: 'Last versions' }).getByRole('link', { name: version, exact: true }).waitFor();
  const shown = await page.getByRole('region', { name: 'Last versions' }).getByRole('link').allInnerTexts();
  assert.deepEqual(shown.filter((one, at) => shown.indexOf(one) !== at), [], 'rows twice');
  await page.getByText('cannot be reached').first().waitFor({ state: 'detached' });
  assert.equal(await page.evaluate(() => window.isOpenStill), true);
}

test('the control plane is killed and started again', { skip: LEVER === undefined }, async () => {
  const opened = await open({ state });
  const { page, context } = opened;
  await follow(URL_, opened);
  const began = Date.now();
  await pull('kill');
  await live(page, 'broken');
  console.log(`not live ${Date.now() - began} ms after the control plane was killed`);
  await page.getByText('cannot be reached').first().waitFor();
  await pull('start');
  const { version } = await change('after the restart');
  await live(page, 'live');
  await right(page, version);
  console.log(`right again ${Date.now() - began} ms after it was killed`);
  await context.close();
});

test('an hour of sleep is not shown as live', async () => {
  const line = await wire();
  const opened = await open({ state });
  const { page, context } = opened;
  // The clock of a page cannot be moved in its workers.
  await context.addInitScript(() => delete window.SharedWorker);
  await page.clock.install();
  await follow(line.url, opened);
  line.stall();
  const { version } = await change('asleep');
  await page.clock.fastForward('01:00:00');
  // It is drawn a moment after it is known; the line stands still until it is cut, so nothing makes it live again.
  await page.locator('[data-live]:not([data-live="live"])').waitFor();
  assert.match(await page.locator('[data-live]').innerText(), /not live since|connecting/);
  assert.equal(await page.getByRole('link', { name: version, exact: true }).count(), 0);
  // The old connections are dead, and the network is there again.
  line.cut(true);
  line.cut(false);
  await live(page, 'live');
  await right(page, version);
  await context.close();
  line.end();
});

test('a line that stands still is noticed', { skip: !EVERYTHING }, async () => {
  const line = await wire();
  const opened = await open({ state });
  const { page, context } = opened;
  await follow(line.url, opened);
  const began = Date.now();
  line.stall();
  await live(page, 'broken');
  console.log(`not live ${Date.now() - began} ms after the line stood still`);
  line.cut(true);
  line.cut(false);
  await live(page, 'live');
  await right(page, (await change('after the silence')).version);
  await context.close();
  line.end();
});
