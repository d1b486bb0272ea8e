// How fast it is with as much as there may be. Times are told and not judged: machines differ.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { admin, BOOLEAN, chord, EVERYTHING, FLAGS, linkOf, open, PLACE, session, settled, stop, times, URL_ } from './page.mjs';

const RULES = 200;
const VALUES = 10_000;
const LISTED = 5_000;
const WATCHED_MS = EVERYTHING ? 3_600_000 : 120_000;
/** Until what is read once was read, and what runs often is machine code: that is kept in the heap too. */
const WARM_MS = EVERYTHING ? 300_000 : 30_000;
/** An answer that is just being read is in the heap too: what stays is the least of some looks. */
const LOOKS = 5;
const LOOK_MS = 2_000;
const EVENT_EVERY_MS = 50;

let state;

before(async () => {
  state = await session(await linkOf('admin'));
});
after(stop);

/** Types into what has the focus; from each key to the frame that shows it, in milliseconds. */
async function keystrokes(page, text) {
  await page.evaluate(() => {
    window.took = [];
    const { port1, port2 } = new MessageChannel();
    let pressed = 0;
    port1.onmessage = () => window.took.push(performance.now() - pressed);
    addEventListener('keydown', (event) => {
      pressed = event.timeStamp;
      // A message from within a frame is delivered behind its painting.
      requestAnimationFrame(() => port2.postMessage(null));
    }, true);
  });
  await page.keyboard.type(text, { delay: 90 });
  await page.waitForTimeout(100);
  return page.evaluate(() => window.took);
}

test(`a rule is renamed among ${RULES}, above ${VALUES} values`, { skip: !EVERYTHING }, async () => {
  const key = `large-${process.pid}`;
  const values = Array.from({ length: VALUES }, (_, at) => `customer-${at}`);
  const rules = Array.from({ length: RULES }, (_, at) => ({ key: `rule-${at}`, percentage: 5, conditions: [{ attribute: at === 0 ? 'customer' : 'country', op: 'in', values: at === 0 ? values : ['DE', 'FR'] }], split: [{ variation: 'on' }] }));
  await admin('PUT', `${FLAGS}/${key}`, { ...BOOLEAN, rules });
  const { page, context, complaints } = await open({ state });
  await page.goto(`${URL_}${PLACE}/flags/${key}`);
  await settled(page);
  await page.getByRole('button', { name: /^rule-0 When/ }).click();
  const name = page.getByLabel('Name', { exact: true }).first();
  await name.focus();
  await page.keyboard.press('End');
  const took = await keystrokes(page, '-of-the-customers-who-pay-by-the-month');
  console.log(`from a key to its frame: ${times(took)}`);
  assert.match(await name.inputValue(), /by-the-month$/);
  await page.getByText(/of .* sampled askers? get something else|Nobody who was sampled/).waitFor();
  const began = Date.now();
  await page.keyboard.press('ControlOrMeta+s');
  await page.getByRole('dialog', { name: /^Review/ }).waitFor();
  console.log(`the review is there ${Date.now() - began} ms after its keys`);
  assert.deepEqual(complaints, []);
  await context.close();
});

test(`${LISTED} flags are listed, and scrolled without blanks`, { skip: !EVERYTHING }, async () => {
  const environment = `many-${process.pid}`;
  const at = `/projects/demo/environments/${environment}`;
  await admin('POST', '/projects/demo/environments', { key: environment });
  const flags = Object.fromEntries(Array.from({ length: LISTED }, (_, n) => [`flag-${String(n).padStart(4, '0')}`, { state: 'ENABLED', variants: { on: true, off: false }, defaultVariant: n % 2 === 0 ? 'on' : 'off' }]));
  await admin('POST', `${at}/import?format=flagd`, { flags });
  const { page, context, complaints } = await open({ state });
  await page.goto(`${URL_}/demo/${environment}`);
  await settled(page);
  const began = Date.now();
  await chord(page, 'f', 'Flags');
  await page.getByRole('row', { name: /flag-0000/ }).waitFor();
  console.log(`the first rows are there after ${Date.now() - began} ms`);
  const took = await page.evaluate(async () => {
    const box = document.querySelector('.flag-table');
    const frame = () => new Promise((next) => requestAnimationFrame(next));
    const seen = () => {
      const { left, top, height } = box.getBoundingClientRect();
      return [0.3, 0.6, 0.9].every((share) => document.elementFromPoint(left + 60, top + height * share)?.closest('.flag-row') != null);
    };
    const blank = [];
    for (let step = 0; step < 60; step += 1) {
      const before = performance.now();
      box.scrollTop += 1200;
      await frame();
      while (!seen() && performance.now() - before < 5_000) await frame();
      blank.push(performance.now() - before);
      if (box.scrollTop + box.clientHeight >= box.scrollHeight - 4) await new Promise((next) => setTimeout(next, 200));
    }
    return blank;
  });
  console.log(`a step of scrolling shows its rows after ${times(took)}`);
  assert.deepEqual(complaints, []);
  await context.close();
});

test(`${WATCHED_MS / 60_000} minutes of events leave the heap as it was`, { timeout: 4 * (WARM_MS + WATCHED_MS) }, async () => {
  const { page, context } = await open({ state });
  await page.goto(`${URL_}${PLACE}`);
  await settled(page);
  const devtools = await context.newCDPSession(page);
  const heap = async () => {
    const looks = [];
    while (looks.length < LOOKS) {
      await page.waitForTimeout(LOOK_MS);
      await devtools.send('HeapProfiler.collectGarbage');
      looks.push((await devtools.send('Runtime.getHeapUsage')).usedSize);
    }
    return Math.min(...looks);
  };
  let isOver = false;
  let count = 0;
  const events = (async () => {
    // Of no snapshot: each is a change that the feed tells, and nothing is published.
    const details = '/projects/demo/flag-details/banner-text';
    for (let next = Date.now(); !isOver; next += EVENT_EVERY_MS) {
      await admin('PUT', details, { description: `event ${(count += 1)}` });
      await new Promise((wait) => setTimeout(wait, Math.max(0, next - Date.now())));
    }
  })();
  await page.waitForTimeout(WARM_MS);
  const course = [await heap()];
  for (const began = Date.now(); Date.now() - began < WATCHED_MS; course.push(await heap())) await page.waitForTimeout(WATCHED_MS / 12);
  isOver = true;
  await events;
  const grown = course.at(-1) / course[0] - 1;
  console.log(`${count} events; the heap meanwhile, in MB: ${course.map((bytes) => (bytes / 1e6).toFixed(2)).join(' ')}; ${(grown * 100).toFixed(1)} % in all`);
  assert.ok(Math.abs(grown) <= 0.1, `the heap grew by ${(grown * 100).toFixed(1)} %`);
  await context.close();
});
