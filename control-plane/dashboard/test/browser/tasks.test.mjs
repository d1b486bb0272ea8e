// What people come to find out, each from the overview in three interactions at most: a click, a shortcut, or a text that is typed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, BOOLEAN, chord, FLAGS, LIMIT_MS, linkOf, open, PLACE, POLICY, session, settled, stop, URL_ } from './page.mjs';

const MOST = 3;

let owner;
let opened;
let count;

before(async () => {
  owner = await session(await linkOf('admin'));
});
after(stop);

/** The overview, and nothing done yet. */
async function begin() {
  opened = await open({ state: owner });
  count = 0;
  await opened.page.goto(`${URL_}${PLACE}`);
  await settled(opened.page);
  return opened.page;
}

async function end(question) {
  console.log(`${question} ${count} interactions`);
  assert.ok(count <= MOST, `${question} ${count} interactions`);
  assert.deepEqual(opened.complaints, []);
  await opened.context.close();
}

const click = (locator) => ((count += 1), locator.click());
const press = (page, key) => ((count += 1), page.keyboard.press(key));
const type = (page, text) => ((count += 1), page.keyboard.type(text));

/** Through the palette: opened, asked, taken. */
async function palette(page, text, offered) {
  await press(page, 'ControlOrMeta+k');
  // What is typed before it has the focus goes nowhere.
  await page.locator('input[placeholder^="Go somewhere"]:focus').waitFor();
  await type(page, text);
  await page.getByText(offered, { exact: true }).waitFor();
  await press(page, 'Enter');
}

test('who switched this off?', async () => {
  const key = `off-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  await admin('POST', `${FLAGS}/${key}/off`, {});
  const page = await begin();
  await palette(page, `who changed ${key}`, `Who changed ${key}`);
  const entry = page.getByRole('list', { name: 'Entries' }).getByRole('listitem').filter({ hasText: 'switched off' });
  await entry.waitFor();
  assert.match(await entry.innerText(), /(user|token):/);
  await end('who switched this off?');
});

test('is the kill live in a region?', async () => {
  const key = `killed-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  const { version } = await admin('POST', `${FLAGS}/${key}/off`, {});
  const { replicas } = await admin('GET', '/projects/demo/environments/production/propagation');
  const page = await begin();
  await click(page.getByRole('link', { name: new RegExp(`^Receipts of ${version.replace('.', '\\.')}:`) }).first());
  const rows = page.getByRole('region', { name: 'Receipts' }).getByRole('row').filter({ hasText: replicas[0].region });
  await rows.first().getByText(/\d\d:\d\d/).waitFor();
  await page.getByText(/is live everywhere/).waitFor();
  await end('is the kill live in a region?');
});

test('why does user-7 not see it?', async () => {
  const key = `unseen-${process.pid}`;
  const rules = [{ key: 'germans', conditions: [{ attribute: 'country', op: 'in', values: ['DE'] }], split: [{ variation: 'on' }] }];
  await admin('PUT', `${FLAGS}/${key}`, { ...BOOLEAN, rules });
  const page = await begin();
  await palette(page, `explain ${key} for user-7`, `Explain ${key} for user-7`);
  const why = page.getByRole('list', { name: 'Why: Published' });
  await why.getByText(/country/).first().waitFor();
  assert.equal(new URL(page.url()).searchParams.get('as'), 'user-7');
  await end('why does user-7 not see it?');
});

test('when does the next ramp step come?', async () => {
  const key = `ramp-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  await admin('PUT', `${FLAGS}/${key}/fuse`, POLICY);
  const page = await begin();
  await palette(page, `fuse of ${key}`, `Fuse of ${key}`);
  await page.getByText(/next step to .* (in|waits|any moment)/).waitFor();
  await end('when does the next ramp step come?');
});

test('which events are refused, and why?', async () => {
  const metric = `orders-${process.pid}`;
  const response = await fetch(`${process.env.FLAGFUSE_EDGE}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${process.env.FLAGFUSE_KEY}` },
    body: JSON.stringify({ sent_ms: Date.now(), events: [{ id: metric, type: 'outcome', metric, unit: 'ada', occurred_ms: Date.now() - 30 * 86_400_000 }, { id: `${metric}-2`, type: 'outcome', metric, unit: 'ada', occurred_ms: Date.now() }] }),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const { quarantined } = await response.json();
  assert.equal(quarantined.length, 1, JSON.stringify(quarantined));
  const page = await begin();
  count += 1;
  await chord(page, 'e', 'Events');
  const group = page.getByRole('region', { name: 'Quarantine' }).locator('.row').filter({ hasText: quarantined[0].code });
  await group.first().waitFor({ timeout: 2 * LIMIT_MS });
  assert.match(await group.first().innerText(), /\d+ events?/);
  await end('which events are refused, and why?');
});
