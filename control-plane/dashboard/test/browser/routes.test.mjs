// Every screen, light and dark, wide and narrow: nothing that a browser complains about, nothing that axe finds, and for a
// viewer nothing that would be refused.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, chord, EVERYTHING, faults, go, LINK, linkOf, open, PLACE, receiptOf, session, settled, shot, stop, URL_ } from './page.mjs';

const ROUTES = [
  '',
  '?view=executive',
  '?view=debug',
  '/flags',
  '/flags/new-checkout',
  '/flags/new-checkout/fuse',
  '/fuses',
  '/propagation',
  '/changes/latest',
  '/events',
  '/slos',
  '/audit',
  '/settings/environments',
  '/settings/members',
  '/settings/tokens',
  '/settings/keys',
  '/settings/me',
];

let owner;

before(async () => {
  const slo = { objective_percent: 99.9, runbook: 'https://example.com/runbook', description: 'Checkouts that fail', sli: { kind: 'errors', bad: 'error' } };
  await admin('PUT', '/projects/demo/environments/production/slos/checkout', slo);
  owner = await session(LINK);
});
after(stop);

test('the link signs in with one click, its code leaves the address, and it works once', async () => {
  const { page, context, complaints } = await open();
  const link = await linkOf('editor');
  await page.goto(link);
  await page.getByRole('navigation').first().waitFor();
  await settled(page);
  assert.equal(new URL(page.url()).hash, '');
  assert.equal(new URL(page.url()).pathname, PLACE);
  assert.deepEqual(complaints, []);
  await context.close();
  const again = await open();
  await again.page.goto(link);
  await again.page.getByRole('alert').waitFor();
  await again.page.getByRole('button', { name: 'Sign in' }).waitFor();
  await again.context.close();
});

/** What moves though somebody asked for stillness. */
const moving = (page) => page.evaluate(() => document.getAnimations().filter((one) => one.playState === 'running' && Number(one.effect?.getComputedTiming().duration) > 1).map((one) => `${one.effect.target?.className} moves`));

// Minutes each: two for every change, all in `cargo xtask test --full`. A window of 1280 pixels at 200 % has room for 640.
const VIEWS = EVERYTHING ? [['light', 1280, 1], ['light', 390, 1], ['dark', 1280, 1], ['dark', 390, 1], ['light', 1280, 2]] : [['light', 1280, 1], ['dark', 390, 1]];
for (const [scheme, width, zoom] of VIEWS) {
  test(`every screen is sound in ${scheme} at ${width} px${zoom === 1 ? '' : `, at ${zoom * 100} %`}`, async () => {
    const { page, context, complaints } = await open({ state: owner, scheme, width, zoom });
    const found = [];
    await page.goto(`${URL_}${PLACE}`);
    await settled(page);
    for (const route of ROUTES) {
      await go(page, route);
      found.push(...[...(await faults(page)), ...(await moving(page))].map((fault) => `${route} ${fault}`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) found.push(`${route} scrolls sideways by ${wide} px`);
      await shot(page, `${route.slice(1).replaceAll(/[^a-z-]/g, '-') || 'overview'}-${scheme}-${width / zoom}`);
    }
    await page.keyboard.press('ControlOrMeta+k');
    await page.getByPlaceholder('Go somewhere').fill('new-checkout');
    await page.getByText('Kill new-checkout').waitFor();
    found.push(...(await faults(page)).map((fault) => `palette ${fault}`));
    await shot(page, `palette-${scheme}-${width / zoom}`);
    await page.keyboard.press('Escape');
    await page.getByPlaceholder('Go somewhere').waitFor({ state: 'detached' });
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Shortcuts' }).waitFor();
    found.push(...(await faults(page)).map((fault) => `help ${fault}`));
    await page.keyboard.press('Escape');
    assert.deepEqual(found, []);
    assert.deepEqual(complaints, []);
    await context.close();
  });
}

test('a viewer meets no control that would be refused', async () => {
  const { page, context, complaints } = await open({ state: await session(await linkOf('viewer', { project: 'demo', environment: 'production' })) });
  // Each by its address, as a link that was sent opens it.
  for (const route of ROUTES.filter((route) => !['/settings/members', '/settings/keys'].includes(route))) {
    await page.goto(`${URL_}${PLACE}${route}`);
    await settled(page);
    const verbs = await page.locator('main button:not([aria-expanded])').and(page.getByRole('button', { name: /Store|Invite|Make|Revoke|Rotate|Declare|Replay|Another one|Trip|Kill|Publish|Review|Delete|Arm/ })).allInnerTexts();
    assert.deepEqual(verbs, [], route);
  }
  for (const tab of ['Members', 'Keys']) assert.equal(await page.getByRole('tab', { name: tab }).count(), 0, tab);
  await page.keyboard.press('ControlOrMeta+k');
  await page.getByPlaceholder('Go somewhere').fill('new-checkout');
  await page.getByRole('button', { name: 'new-checkout Flag', exact: true }).or(page.getByText('new-checkout', { exact: true }).first()).first().waitFor();
  assert.equal(await page.getByText('Kill new-checkout').count(), 0);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('what pictures show is told in numbers too, and no picture holds up the keyboard', async () => {
  const { page, context, complaints } = await open({ state: owner });
  const { version } = await admin('GET', '/projects/demo/environments/production/propagation');
  const arrivals = [[143, null], [120, 180], [40, 60]].map((lags_ms, at) => ({
    version: at === 0 ? version : `0.${9 - at}`, epoch: 1, seq: 9 - at, created_ms: Date.now() - at * 60_000, lags_ms, everywhere_ms: lags_ms.includes(null) ? null : Math.max(...lags_ms),
  }));
  const replicas = [{ region: 'eu', shard: 0 }, { region: 'us', shard: 0 }];
  await page.route('**/arrivals?*', (route) => route.fulfill({ json: { bound_ms: 250, replicas, arrivals } }));
  await page.goto(`${URL_}${PLACE}/propagation`);
  await page.getByRole('img', { name: 'of 2 versions: p50 60 ms, p99 180 ms, max 180 ms. After that no answer is older than 250 ms.' }).waitFor();
  const rows = page.getByRole('region', { name: 'Lags by version and replica' }).locator('tbody tr');
  const told = await rows.evaluateAll((list) => list.map((row) => [...row.cells].slice(-3).map((cell) => cell.innerText)));
  assert.deepEqual(told, [['143 ms', 'not there yet', 'not there yet'], ['120 ms', '180 ms', '180 ms'], ['40 ms', '60 ms', '60 ms']]);
  assert.deepEqual(await page.locator('.strip a').evaluateAll((links) => links.map((link) => link.tabIndex)), [-1, -1, -1]);
  assert.deepEqual(await faults(page), []);
  await page.locator('.strip a').last().click();
  await page.getByRole('heading', { level: 1, name: `Change ${version}` }).waitFor();

  const [from_ms, to_ms] = [Date.now() - 60_000, Date.now() + 3_600_000];
  const suppressions = [{ suppression_id: 'deploy', from_ms, to_ms, reason: 'A deploy', slo: null, is_on: true, declared_by: 'user:ada', declared_ms: from_ms }];
  await page.route('**/suppressions', (route) => route.fulfill({ json: { suppressions, next: null, total: { count: 1, is_more: false } } }));
  await page.route('**/notices', (route) => route.fulfill({ json: { notices: [{ notice_id: 1, at_ms: from_ms, kind: 'slo.page', subject: 'checkout', body: {}, delivered_ms: null }], next: null } }));
  await page.goto(`${URL_}${PLACE}/slos`);
  await page.getByRole('img', { name: /Windows: A deploy, all SLOs, .* to .*\. Alerts: checkout pages, / }).waitFor();
  assert.deepEqual(await faults(page), []);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('the shortcuts go where they say, and what is not there has a way back', async () => {
  const { page, context } = await open({ state: owner });
  await page.goto(`${URL_}${PLACE}`);
  await settled(page);
  for (const [key, title] of [['p', 'Propagation'], ['e', 'Events'], ['s', 'SLOs'], ['u', 'Fuses'], ['o', 'Overview']]) {
    await chord(page, key, title);
  }
  await page.goto(`${URL_}${PLACE}/nothing/here`);
  await page.getByText('There is nothing here').waitFor();
  await page.getByRole('link', { name: 'To the overview' }).click();
  await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
  await page.goto(`${URL_}/demo/gone`);
  await page.getByText('There is nothing here').waitFor();
  await context.close();
});

test('who is signed out signs in over the page, and what was typed is still there', async () => {
  const link = await linkOf('admin');
  const state = await session(link);
  const { page, context } = await open({ state });
  await page.goto(`${URL_}${PLACE}/settings/environments`);
  // Of the settings one that no other story minds.
  const field = page.getByLabel('Seconds that a version stays with a stage');
  const typed = String(Number(await field.inputValue()) + 1);
  await field.fill(typed);
  const { sessions } = await page.evaluate(async () => (await fetch('/v1/sessions')).json());
  const mine = sessions.find((session) => session.is_this);
  await page.evaluate((id) => fetch(`/v1/sessions/${id}`, { method: 'DELETE' }), mine.session_id);
  // The feed ends with the session, so nobody has to click to find out.
  const dialog = page.getByRole('dialog', { name: 'You are signed out' });
  await dialog.waitFor();
  await dialog.getByLabel('Or a sign-in link').fill(await linkOf('admin'));
  await dialog.getByRole('button', { name: 'Sign in' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await field.inputValue(), typed);
  await page.getByRole('button', { name: 'Store' }).click();
  await page.getByText('Stored.').waitFor();
  await context.close();
});

test('a kill from the palette takes three keys and shows its receipts', async () => {
  await admin('PATCH', '/projects/demo/environments/production/flags/theme', { enabled: true });
  const { page, context, complaints } = await open({ state: owner });
  await page.goto(`${URL_}${PLACE}`);
  await settled(page);
  await page.keyboard.press('ControlOrMeta+k');
  await page.getByPlaceholder('Go somewhere').fill('kill theme');
  await page.getByText('Kill theme').waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Kill theme' }).waitFor();
  const isOn = async () => (await admin('GET', '/projects/demo/environments/production/flags/theme')).flag.enabled;
  assert.equal(await isOn(), true, 'one key too few kills nothing');
  await page.keyboard.press('Enter');
  await receiptOf(page).waitFor();
  assert.equal(await isOn(), false);
  assert.deepEqual(complaints, []);
  await context.close();
});
