// A fuse on a real stack: armed by template, tripped with one click and Enter, its story read to the end, closed with a reason.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, BOOLEAN, faults, FLAGS, linkOf, open, PLACE, POLICY, receiptOf, send, session, settled, shot, stop, URL_ } from './page.mjs';

let owner;

before(async () => {
  owner = await session(await linkOf('admin'));
});
after(stop);

test('armed by template, tripped by one click and Enter, told as a story, closed with a reason', async () => {
  const key = `fused-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  const { page, context, complaints } = await open({ state: owner });
  await page.goto(`${URL_}${PLACE}/flags/${key}/fuse`);
  await page.getByRole('radio', { name: /Errors and latency/ }).click();
  await page.getByText('What speaks against it').waitFor();
  await page.getByRole('list', { name: 'Findings' }).waitFor();
  await page.getByRole('button', { name: 'Review' }).and(page.locator(':enabled')).click();
  await send(page, { verb: /^Arm/ });
  const armed = await admin('GET', `${FLAGS}/${key}/fuse`);
  assert.deepEqual(armed.policy.guardrails.map(({ metric }) => metric), ['error', 'latency_ms']);
  await page.keyboard.press('Enter');

  await page.getByRole('button', { name: 'Trip', exact: true }).click();
  await page.locator('button:focus', { hasText: 'Trip now' }).waitFor();
  await page.keyboard.press('Enter');
  await receiptOf(page).waitFor();
  assert.equal((await admin('GET', `${FLAGS}/${key}/fuse`)).circuit, 'OPEN');
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Trip 1' }).click();
  await page.locator('[data-trip="everywhere"]').waitFor();
  await page.getByText(/tripped the fuse/).waitFor();
  await page.getByText(/It is off everywhere: \d+ of \d+ replicas, guaranteed/).waitFor();
  assert.match(await page.getByRole('img', { name: /Off everywhere, guaranteed: / }).getAttribute('aria-label'), /Stored in .*UTC, \+/);
  await shot(page, 'trip-story');

  await page.getByRole('link', { name: 'The fuse' }).click();
  await page.getByRole('button', { name: 'Close', exact: true }).click();
  const sheet = page.getByRole('dialog', { name: `Close: ${key}` });
  await sheet.getByText(/sampled|asker/).first().waitFor();
  assert.equal(await sheet.getByRole('button', { name: 'Close', exact: true }).last().isDisabled(), true, 'without a reason');
  await sheet.getByLabel('Reason').fill('the page is fixed');
  await page.keyboard.press('Enter');
  await receiptOf(page).waitFor();
  assert.equal((await admin('GET', `${FLAGS}/${key}/fuse`)).circuit, 'CLOSED');
  assert.deepEqual(complaints, []);
  await context.close();
});

test('the ramp is held and let go by hand, and a policy changes with what differs in sight', async () => {
  const key = `ramped-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  await admin('PUT', `${FLAGS}/${key}/fuse`, POLICY);
  const { page, context } = await open({ state: owner });
  await page.goto(`${URL_}${PLACE}/flags/${key}/fuse`);
  await page.getByText(/stage 1 of 6 · 1 % see it/).waitFor();
  await page.getByRole('button', { name: 'Pause ramp' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Pause ramp' }).click();
  await page.getByRole('dialog').getByText(/Done|receipt|live/i).first().waitFor();
  await page.keyboard.press('Escape');
  await page.getByText(/a person holds the ramp/).waitFor();
  await page.getByRole('button', { name: 'Resume ramp' }).waitFor();
  await page.getByRole('button', { name: 'Change' }).click();
  await page.getByLabel('By more than').fill('1e2');
  await page.getByText(/exponent/).waitFor();
  await page.getByLabel('By more than').fill('30');
  await page.getByRole('button', { name: 'Review' }).and(page.locator(':enabled')).click();
  await page.getByRole('dialog').getByText('guardrails › error › threshold').waitFor();
  await shot(page, 'policy-change');
  await context.close();
});

test('the screens of a fuse and of a trip are sound', async () => {
  const key = `drawn-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  await admin('PUT', `${FLAGS}/${key}/fuse`, POLICY);
  await admin('POST', `${FLAGS}/${key}/fuse/trip`, { reason: '<b>it</b> \u202ebroke' });
  for (const [scheme, width] of [['dark', 1280], ['light', 390]]) {
    const { page, context, complaints } = await open({ state: owner, scheme, width });
    const found = [];
    for (const route of ['/fuse', '/fuse/trips/1']) {
      await page.goto(`${URL_}${PLACE}/flags/${key}${route}`);
      await settled(page);
      for (const picture of await page.locator('main svg[role="img"]').all()) assert.notEqual(await picture.getAttribute('aria-label'), '');
      found.push(...(await faults(page)).map((fault) => `${route} ${fault}`));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) found.push(`${route} scrolls sideways by ${wide} px`);
      await shot(page, `fused${route.replaceAll('/', '-')}-${scheme}-${width}`);
    }
    assert.deepEqual(found, []);
    assert.deepEqual(complaints, []);
    await context.close();
  }
});
