// From the sign-in link to the way back, by keyboard alone, with traffic on the real edge: what a harmful feature looks like to
// whoever made it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { admin, BOOLEAN, chord, EVERYTHING, FLAGS, LIMIT_MS, linkOf, open, PLACE, receiptOf, send, session, settled, shot, stop, tabTo, times, URL_ } from './page.mjs';

const EDGE = process.env.FLAGFUSE_EDGE;
const POLICY = {
  mode: 'anytime', treatment_variation: 'on', control_variation: 'off', exposure_percent: 50, control_percent: 50, grace_s: 0,
  guardrails: [{ metric: 'conversion', direction: 'decrease_is_harm', threshold: -0.1, baseline: 0.4 }],
};
const TRIP_LIMIT_MS = 240_000;

after(stop);

/** Users of whom nobody converts who sees the feature, until `isOver`. */
async function traffic(flag, isOver) {
  let count = 0;
  const ask = async (path, body) => {
    const response = await fetch(`${EDGE}${path}`, { method: 'POST', headers: { authorization: `Bearer ${process.env.FLAGFUSE_KEY}` }, body: JSON.stringify(body), signal: AbortSignal.timeout(LIMIT_MS) });
    return { status: response.status, answer: await response.json() };
  };
  const users = async () => {
    while (!isOver()) {
      const unit = `${flag}-${(count += 1)}`;
      const { status, answer } = await ask(`/ofrep/v1/evaluate/flags/${flag}`, { context: { targetingKey: unit } });
      // The edge may not have heard of the flag yet.
      if (status !== 200) await new Promise((next) => setTimeout(next, 100));
      else if (answer.value === false) {
        const now = Date.now();
        await ask('/v1/events', { sent_ms: now, ticket: answer.metadata?.ticket, events: [{ id: `conversion-${unit}`, type: 'outcome', metric: 'conversion', unit, occurred_ms: now }] });
      }
    }
  };
  await Promise.all(Array.from({ length: 4 }, users));
  return count;
}

/** Notes when the fuse's standing first begins so, by the page's clock. */
const watch = (page, word) =>
  page.evaluate((begins) => {
    window.seenMs = new Promise((seen) => {
      const look = () => {
        if (document.querySelector('[aria-label="Circuit"] p')?.textContent.startsWith(begins) === true) requestAnimationFrame(() => seen(Date.now()));
        else requestAnimationFrame(look);
      };
      look();
    });
  }, word);

test('by keyboard alone: a flag, its targets, its fuse, the trip, its story, the trail, the way back', { skip: !EVERYTHING }, async () => {
  const key = `story-${process.pid}`;
  // All of the traffic comes from one address.
  await admin('PATCH', '/projects/demo/environments/production/settings', { min_networks: 1 });
  const { page, context, complaints } = await open();
  const { keyboard } = page;
  await page.goto(await linkOf('admin'));
  await page.getByRole('navigation').first().waitFor();
  await settled(page);

  await chord(page, 'f', 'Flags');
  await tabTo(page, 'Make a flag');
  await keyboard.press('Enter');
  // What is typed before it has the focus goes nowhere.
  await page.getByRole('dialog', { name: 'Make a flag' }).locator('input:focus').waitFor();
  await keyboard.type(key);
  await keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: key }).waitFor();

  await tabTo(page, 'Targets');
  await keyboard.press('Enter');
  await tabTo(page, 'Units that get on');
  await keyboard.press('Enter');
  await tabTo(page, 'Add to Units that get on');
  await keyboard.type('ada');
  await keyboard.press('Enter');
  await page.getByText(/of .* sampled askers get something else/).waitFor();
  await keyboard.press('ControlOrMeta+s');
  await page.getByRole('dialog', { name: 'Review 1 change' }).waitFor();
  await send(page);
  await keyboard.press('Enter');

  await tabTo(page, 'Arm a fuse');
  await keyboard.press('Enter');
  await page.getByText('What speaks against it').waitFor();
  await tabTo(page, 'Every field, as JSON');
  await keyboard.press('Enter');
  await tabTo(page, 'Policy as JSON');
  await keyboard.press('ControlOrMeta+a');
  await keyboard.insertText(JSON.stringify(POLICY));
  await page.getByRole('button', { name: 'Review' }).and(page.locator(':enabled')).waitFor();
  await tabTo(page, 'Review');
  await keyboard.press('Enter');
  await send(page, { verb: /^Arm/ });
  await keyboard.press('Enter');
  await page.getByText(/^CLOSED ·/).waitFor();

  const began = Date.now();
  let isOver = false;
  const visits = traffic(key, () => isOver);
  await watch(page, 'OPEN');
  const seenMs = await page.evaluate((limit) => Promise.race([window.seenMs, new Promise((late) => setTimeout(() => late(null), limit))]), TRIP_LIMIT_MS);
  isOver = true;
  assert.notEqual(seenMs, null, `no trip within ${TRIP_LIMIT_MS} ms, of ${await visits} visits`);
  const { steps } = await admin('GET', `${FLAGS}/${key}/fuse/trips/1`);
  const committedMs = steps.find(({ step }) => step === 'committed').at_ms;
  console.log(`tripped after ${seenMs - began} ms and ${await visits} visits; on screen ${seenMs - committedMs} ms after the transition`);
  await shot(page, 'story-tripped');

  await page.getByRole('link', { name: 'Trip 1' }).waitFor();
  await tabTo(page, 'Trip 1');
  await keyboard.press('Enter');
  await page.locator('[data-trip="everywhere"]').waitFor();
  const [, acked, total] = /It is off everywhere: (\d+) of (\d+) replicas/.exec(await page.locator('[data-trip]').innerText()) ?? [];
  assert.equal(acked, total);
  assert.match(await page.locator('[data-trip]').innerText(), /the fuse tripped.*conversion/i);
  await shot(page, 'story-trip');

  await tabTo(page, 'Audit entry');
  await keyboard.press('Enter');
  await page.getByRole('list', { name: 'Entries' }).getByText('fuse.transition').first().waitFor();
  const { audit } = await admin('GET', `/projects/demo/environments/production/audit?flag=${key}&action=flag.put`);
  const made = audit.at(-1);
  await tabTo(page, `Detail of entry ${made.audit_id}`);
  await keyboard.press('Enter');
  await tabTo(page, 'Back to how it was in');
  await keyboard.press('Enter');
  await page.getByRole('button', { name: 'Take it back' }).and(page.locator(':enabled')).waitFor();
  await tabTo(page, 'Take it back');
  await keyboard.press('Enter');
  await receiptOf(page).waitFor();
  await keyboard.press('Enter');
  assert.deepEqual((await admin('GET', `${FLAGS}/${key}`)).flag.targets ?? [], []);
  assert.equal((await admin('GET', `${FLAGS}/${key}/fuse`)).circuit, 'OPEN', 'what tripped stays off');
  assert.deepEqual(complaints, []);
  await context.close();
});

test('a transition is on screen at once', async () => {
  const key = `moved-${process.pid}`;
  await admin('PUT', `${FLAGS}/${key}`, BOOLEAN);
  await admin('PUT', `${FLAGS}/${key}/fuse`, POLICY);
  const { page, context, complaints } = await open({ state: await session(await linkOf('viewer')) });
  await page.goto(`${URL_}${PLACE}/flags/${key}/fuse`);
  await page.getByText(/^CLOSED ·/).waitFor();
  const [took, decided] = [[], []];
  for (let n = 0; n < 20; n += 1) {
    const [action, word] = n % 2 === 0 ? ['trip', 'OPEN'] : ['close', 'CLOSED'];
    await watch(page, word);
    await admin('POST', `${FLAGS}/${key}/fuse/${action}`, { reason: 'to and fro' });
    // It is answered once it is committed.
    const committedMs = Date.now();
    const seenMs = await page.evaluate((limit) => Promise.race([window.seenMs, new Promise((late) => setTimeout(() => late(null), limit))]), LIMIT_MS);
    assert.notEqual(seenMs, null, `“${word}” is not on screen within ${LIMIT_MS} ms`);
    took.push(Math.max(0, seenMs - committedMs));
    decided.push(seenMs - (await admin('GET', `${FLAGS}/${key}/fuse`)).acted_ms);
  }
  console.log(`a transition is on screen ${times(took)} after it is committed; ${times(decided)} after it was decided`);
  assert.deepEqual(complaints, []);
  await context.close();
});
