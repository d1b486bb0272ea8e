// Flags on a real stack: made, targeted and published by keyboard alone; edited by two people at once; fed with what nobody should type.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, BOOLEAN, faults, FLAGS, LIMIT_MS, linkOf, open, PLACE, receiptOf, send, session, settled, shot, stop, tabTo, URL_ } from './page.mjs';

let owner;

before(async () => {
  owner = await session(await linkOf('admin'));
});
after(stop);

async function openFlag(page, key) {
  await page.goto(`${URL_}${PLACE}/flags/${encodeURIComponent(key)}`);
  await settled(page);
  await page.getByRole('heading', { level: 1, name: key }).waitFor();
}

async function target(page, unit) {
  await page.locator('#stop-targets .stop-head[aria-expanded="false"]').click().catch(() => undefined);
  await page.getByRole('button', { name: 'Units that get on' }).click();
  await page.getByLabel('Add to Units that get on').fill(unit);
  await page.keyboard.press('Enter');
}

async function publish(page) {
  await page.getByText(/sampled/).first().waitFor();
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('dialog', { name: /^Review/ }).waitFor();
  await send(page);
}

/** Publishes what somebody else has changed meanwhile; the sheet for that may come before the click or of it. */
async function meets(page) {
  const sheet = page.getByRole('dialog', { name: 'Somebody published this flag meanwhile' });
  const ready = page.getByRole('button', { name: /^Publish/ }).and(page.locator(':enabled:not([data-loading])'));
  for (const end = Date.now() + LIMIT_MS; ;) {
    await sheet.or(ready).first().waitFor();
    if (await sheet.isVisible()) return sheet;
    assert.ok(Date.now() < end, `nobody says within ${LIMIT_MS} ms that the flag was published meanwhile`);
    // Gone once the sheet has come.
    await ready.click({ timeout: 5_000 }).catch(() => undefined);
  }
}

test('by keyboard alone: make a flag, target somebody, review who flips, publish, watch the receipt', async () => {
  const { page, context, complaints } = await open({ state: owner });
  await page.goto(`${URL_}${PLACE}/flags`);
  await settled(page);
  await tabTo(page, 'Make a flag');
  await page.keyboard.press('Enter');
  // What is typed before it has the focus goes nowhere.
  await page.getByRole('dialog', { name: 'Make a flag' }).locator('input:focus').waitFor();
  const key = `by-keyboard-${process.pid}`;
  await page.keyboard.type(key);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: key }).waitFor();
  await page.getByText('Everyone gets “off”.').first().waitFor();
  await tabTo(page, 'Targets');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Units that get on');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Add to Units that get on');
  await page.keyboard.type('ada');
  await page.keyboard.press('Enter');
  await page.getByText(/of .* sampled askers get something else/).waitFor();
  await page.keyboard.press('ControlOrMeta+s');
  const review = page.getByRole('dialog', { name: 'Review 1 change' });
  await review.waitFor();
  await review.getByText('targets').first().waitFor();
  await shot(page, 'story-review');
  await send(page);
  await shot(page, 'story-receipt');
  await page.keyboard.press('Enter');
  await page.getByText('1 unit by name get').first().waitFor();
  const stored = await admin('GET', `${FLAGS}/${key}`);
  assert.deepEqual(stored.flag.targets, [{ variation: 'on', units: ['ada'] }]);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('two people edit one flag, and neither loses a field', async () => {
  const key = `two-people-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, { ...BOOLEAN, rules: [{ key: 'a', percentage: 1, conditions: [{ attribute: 'country', op: 'in', values: ['DE'] }], split: [{ variation: 'on' }] }] });
  const [first, second] = [await open({ state: owner }), await open({ state: await session(await linkOf('editor', { project: 'demo' })) })];
  await openFlag(first.page, key);
  await openFlag(second.page, key);
  await target(first.page, 'ada');
  await second.page.getByRole('button', { name: /^a When country/ }).click();
  await second.page.getByLabel('Share of them').first().fill('50');
  await publish(first.page);
  // The other page may have heard of it by its feed, or hears of it when it publishes: both lead to the same sheet.
  await second.page.keyboard.press('ControlOrMeta+s');
  const sheet = await meets(second.page);
  await sheet.getByText('together they lose nothing').waitFor();
  // The bar below it covers a part of what is under both, wherever that is scrolled to.
  assert.deepEqual(await faults(second.page, '[role="dialog"]'), []);
  await shot(second.page, 'story-merge');
  await sheet.getByRole('button', { name: 'Take the result' }).click();
  await second.page.getByRole('dialog', { name: /^Review/ }).waitFor();
  await send(second.page, { clicks: true });
  const { flag } = await admin('GET', `${FLAGS}/${key}`);
  assert.deepEqual(flag.targets, [{ variation: 'on', units: ['ada'] }]);
  assert.equal(flag.rules[0].percentage, 50);
  await first.context.close();
  await second.context.close();
});

test('a field that both changed is asked, and nothing is published before the answer', async () => {
  const key = `same-field-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, { ...BOOLEAN, rules: [{ key: 'a', percentage: 1, conditions: [], split: [{ variation: 'on' }] }] });
  const { page, context } = await open({ state: owner });
  await openFlag(page, key);
  await page.getByRole('button', { name: /^a Everyone/ }).click();
  await page.getByLabel('Share of them').first().fill('50');
  await page.getByText(/sampled/).first().waitFor();
  await admin('PATCH', `${FLAGS}/${key}`, { rules: [{ key: 'a', percentage: 5, conditions: [], split: [{ variation: 'on' }] }] });
  await page.getByRole('button', { name: /^Review/ }).click();
  const sheet = await meets(page);
  await sheet.getByText('1 choice left').waitFor();
  await sheet.getByLabel('Yours: 50').check();
  await sheet.getByRole('button', { name: 'Take the result' }).click();
  await send(page, { clicks: true });
  assert.equal((await admin('GET', `${FLAGS}/${key}`)).flag.rules[0].percentage, 50);
  await context.close();
});

test('what the server alone can refuse is told while it is typed, and is no fault of the page', async () => {
  const key = `refused-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  const { page, context, complaints } = await open({ state: owner });
  await openFlag(page, key);
  await page.getByRole('tab', { name: 'JSON' }).click();
  const text = page.getByLabel('The flag as JSON');
  const doc = JSON.parse(await text.innerText());
  await text.fill(JSON.stringify({ ...doc, prerequisites: [{ flag: 'no-such-flag', variations: ['on'] }] }));
  await page.getByRole('status').filter({ hasText: 'no-such-flag' }).first().waitFor();
  await text.fill(JSON.stringify({ ...doc, description: 'sound again' }));
  await page.getByText('Nobody who was sampled gets something else.').waitFor();
  assert.deepEqual(await faults(page), []);
  await text.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.closest('.cm-editor')), null, 'Tab leaves the editor');
  assert.deepEqual(complaints, []);
  await context.close();
});

test('odd names are names, and what cannot be meant is refused with a sentence before it is sent', async () => {
  const odd = `<img src=x onerror=document.title='x'> 😀 \u202etxt ${process.pid}`;
  await admin('PUT', `${FLAGS}/${encodeURIComponent(odd)}`, { ...BOOLEAN, description: '<script>1</script>'.repeat(100) });
  await admin('PUT', `${FLAGS}/__proto__`, BOOLEAN);
  const { page, context, complaints } = await open({ state: owner });
  for (const key of [odd, '__proto__']) {
    await openFlag(page, key);
    assert.equal(await page.locator('main img, main script').count(), 0);
  }
  await page.getByRole('button', { name: 'Rule', exact: true }).click();
  const share = page.getByLabel('Share of them').first();
  for (const [text, says] of [['1,5', 'decimal point'], ['1e3', 'exponent'], ['NaN', 'not a number'], ['101', 'most is 100']]) {
    await share.fill(text);
    await page.getByText(says).first().waitFor();
    await page.getByRole('button', { name: /^Review/ }).and(page.locator(':disabled')).waitFor();
  }
  await share.fill('');
  await page.getByLabel('Add to Values of targetingKey').focus();
  await page.evaluate(() => {
    const clipboardData = new DataTransfer();
    clipboardData.setData('text/plain', Array.from({ length: 100_000 }, (_, at) => `user-${at}`).join('\n'));
    document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
  });
  await page.getByText('10,000 is the most').waitFor();
  assert.equal(await page.getByText('user-1', { exact: true }).count(), 0);
  await page.goto(`${URL_}${PLACE}/flags/nobody-made-this`);
  await page.getByRole('heading', { level: 1, name: 'Not found' }).waitFor();
  await page.getByRole('link', { name: 'All flags' }).waitFor();
  // What an address leads to and is not there is a console line of the browser's own.
  assert.deepEqual(complaints.filter((line) => !/nobody-made-this.*status of 404/.test(line)), []);
  await context.close();
});

test('a reload keeps an edit, and a switch-off does not touch it', async () => {
  const key = `kept-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  const { page, context } = await open({ state: owner });
  await openFlag(page, key);
  await target(page, 'ada');
  await page.getByText('1 unsaved change').waitFor();
  await page.reload();
  await page.getByText('1 unsaved change').waitFor();
  await page.getByRole('button', { name: 'Switch off' }).click();
  await page.locator('button:focus', { hasText: 'Switch off now' }).waitFor();
  await page.keyboard.press('Enter');
  await receiptOf(page).waitFor({ timeout: LIMIT_MS });
  assert.equal((await admin('GET', `${FLAGS}/${key}`)).flag.enabled, false);
  await page.getByText('1 unsaved change').waitFor();
  await page.getByRole('button', { name: /meanwhile: merge/ }).waitFor();
  await context.close();
});

test('menus, dialogs and answers of the flag screens are sound', async () => {
  const key = `sound-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, { ...BOOLEAN, rules: [{ key: 'a', conditions: [{ attribute: 'age', op: 'at_least', values: [18] }], split: [{ variation: 'on', weight: 70 }, { variation: 'off', weight: 30 }] }] });
  for (const [scheme, width] of [['light', 1280], ['dark', 390]]) {
    const { page, context } = await open({ state: owner, scheme, width });
    const found = [];
    const look = async (what) => {
      found.push(...(await faults(page)).map((fault) => `${what}: ${fault}`));
      await shot(page, `flags-${what}-${scheme}-${width}`);
    };
    await page.goto(`${URL_}${PLACE}/flags?q=${key}`);
    await settled(page);
    await page.getByRole('button', { name: /is on: switch it off/ }).first().click();
    await page.getByRole('dialog').getByText(/askers/).first().waitFor();
    await look('switch');
    await openFlag(page, key);
    for (const head of await page.locator('.stop-head').all()) if ((await head.getAttribute('aria-expanded')) === 'false') await head.click();
    await page.locator('.rule-open').first().click();
    await page.getByPlaceholder('user-7', { exact: true }).fill('ada');
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText('Published').waitFor();
    await look('rail');
    await page.getByLabel('Share of them').first().fill('5');
    await page.getByText(/sampled/).first().waitFor();
    await page.getByRole('button', { name: /^Review/ }).click();
    await page.getByRole('dialog').getByText(/asker/).first().waitFor();
    await look('review');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Discard' }).click();
    for (const tab of ['Variations', 'Environments', 'About', 'JSON', 'History']) {
      await page.getByRole('tab', { name: tab }).click();
      await page.getByRole('tabpanel', { name: tab, exact: true }).waitFor();
      await settled(page);
      await look(tab);
    }
    await page.goto(`${URL_}${PLACE}/flags/${key}/fuse`);
    await page.getByText('What speaks against it').waitFor();
    await settled(page);
    await page.getByRole('button', { name: 'Review' }).and(page.locator(':enabled')).waitFor();
    // Its colours change with it.
    await page.waitForTimeout(300);
    await look('arm');
    assert.deepEqual(found, []);
    await context.close();
  }
});
