// What happens is on screen by itself, and the page says when it cannot know.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, LIMIT_MS, linkOf, open, PLACE, session, settled, stop, URL_, wire } from './page.mjs';

let state;

before(async () => {
  state = await session(await linkOf('editor'));
});
after(stop);

const live = (page, status) => page.locator(`[data-live="${status}"]`).waitFor();

test('a change is on screen by itself, in every tab, with its receipts', async () => {
  const { page, context, complaints } = await open({ state });
  const other = await context.newPage();
  for (const tab of [page, other]) {
    await tab.goto(`${URL_}${PLACE}`);
    await settled(tab);
    await live(tab, 'live');
  }
  const times = [];
  for (let n = 0; n < 5; n += 1) {
    const { version } = await admin('PATCH', '/projects/demo/environments/production/flags/banner-text', { description: `seen ${n} ${Date.now()}` });
    const began = Date.now();
    const row = (tab) => tab.getByText(`Receipts of ${version}:`).or(tab.getByRole('link', { name: version, exact: true })).first();
    await row(page).waitFor({ state: 'attached' });
    times.push(Date.now() - began);
    await row(other).waitFor({ state: 'attached' });
  }
  times.sort((one, other) => one - other);
  console.log(`a change is on screen after ${times.join(', ')} ms`);
  // The best of them: a machine that stands still for seconds holds up any of the others.
  assert.ok(times[0] < 3_000, `${times}`);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('who is cut off is told since when, and what happened meanwhile is there afterwards', async () => {
  const line = await wire();
  const { page, context } = await open({ state });
  await page.goto(`${line.url}${PLACE}/propagation`);
  await settled(page);
  await live(page, 'live');
  line.cut(true);
  await live(page, 'broken');
  assert.match(await page.locator('[data-live]').innerText(), /not live since \d\d:\d\d/);
  const { version } = await admin('PATCH', '/projects/demo/environments/production/flags/banner-text', { description: `unseen ${Date.now()}` });
  // What was there stays, and what cannot be asked says so.
  await page.getByText('cannot be reached').first().waitFor();
  assert.equal(await page.getByRole('link', { name: version, exact: true }).count(), 0);
  line.cut(false);
  await live(page, 'live');
  await page.getByRole('link', { name: version, exact: true }).first().waitFor();
  await page.getByText('cannot be reached').first().waitFor({ state: 'detached' });
  await context.close();
  line.end();
});

test('in a browser without shared workers one tab reads for all, and another one when it is gone', async () => {
  const { page, context } = await open({ state });
  // Whose streams they were: a line that was silent for too long is taken up by the same tab.
  let readers = [];
  context.on('request', (request) => request.url().endsWith('/v1/feed') && readers.push(request.frame().page()));
  await context.addInitScript(() => delete window.SharedWorker);
  const other = await context.newPage();
  for (const tab of [page, other]) {
    await tab.goto(`${URL_}${PLACE}`);
    await live(tab, 'live');
  }
  assert.ok(readers.length > 0 && readers.every((reader) => reader === page), `${readers.length} streams`);
  readers = [];
  await page.close();
  const { version } = await admin('PATCH', '/projects/demo/environments/production/flags/banner-text', { description: `taken over ${Date.now()}` });
  await other.getByText(`Receipts of ${version}:`).first().waitFor({ state: 'attached' });
  assert.ok(readers.length > 0 && readers.every((reader) => reader === other), `${readers.length} streams`);
  await context.close();
});

test('the first step of a new environment ticks itself when the edge was asked', async () => {
  const key = `first-${process.pid}`;
  const at = `/projects/demo/environments/${key}`;
  await admin('POST', '/projects/demo/environments', { key });
  const variations = [{ key: 'on', value: true }, { key: 'off', value: false }];
  await admin('PUT', `${at}/flags/hello`, { value_type: 'boolean', off_variation: 'off', default_variation: 'off', variations });
  const guardrails = [{ metric: 'conversion', direction: 'decrease_is_harm', threshold: -0.1, baseline: 0.4 }];
  const arms = { treatment_variation: 'on', control_variation: 'off', exposure_percent: 50, control_percent: 50, grace_s: 0 };
  await admin('PUT', `${at}/flags/hello/fuse`, { mode: 'anytime', ...arms, guardrails });
  const { token } = await admin('POST', `${at}/tokens`, { name: 'first steps' });
  const { page, context, complaints } = await open({ state });
  await page.goto(`${URL_}/demo/${key}`);
  await page.getByText('Waiting for the first event').waitFor();
  const began = Date.now();
  for (let n = 0; ; n += 1) {
    const answer = await fetch(`${process.env.FLAGFUSE_EDGE}/ofrep/v1/evaluate/flags/hello`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ context: { targetingKey: `unit-${n}` } }),
      signal: AbortSignal.timeout(LIMIT_MS),
    });
    if (answer.ok && n >= 5) break;
    assert.ok(Date.now() - began < LIMIT_MS, `the edge answers ${answer.status}`);
    await new Promise((next) => setTimeout(next, 100));
  }
  await page.getByText('Ask the edge: done').waitFor();
  console.log(`the first step ticked after ${Date.now() - began} ms`);
  assert.deepEqual(complaints, []);
  await context.close();
});
