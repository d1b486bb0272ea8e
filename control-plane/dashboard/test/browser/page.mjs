// Pages of a real Chromium on a real stack, signed in as whoever a test wants, and what must never happen on any of them.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { chromium } from 'playwright-core';

/** `FLAGFUSE_URL`, `FLAGFUSE_ADMIN`, `FLAGFUSE_LINK`, `FLAGFUSE_CHROMIUM`, `FLAGFUSE_SHOTS`: the harness sets them. */
export const URL_ = process.env.FLAGFUSE_URL;
export const LINK = process.env.FLAGFUSE_LINK;
const ADMIN = process.env.FLAGFUSE_ADMIN;
const SHOTS = process.env.FLAGFUSE_SHOTS;
export const PLACE = '/demo/production';
/** A machine that is busy with other tests may stand still for seconds, and more than once. */
export const LIMIT_MS = 90_000;
/** What takes longer than some twenty seconds: in `cargo xtask test --full`. */
export const EVERYTHING = process.env.FLAGFUSE_EVERY_VIEW !== undefined;

export const FLAGS = '/projects/demo/environments/production/flags';
/** Of a fuse that nothing but a person trips, unless errors come. */
export const POLICY = { mode: 'anytime', treatment_variation: 'on', control_variation: 'off', ramp: {}, guardrails: [{ metric: 'error', direction: 'increase_is_harm', threshold: 0.5 }] };
export const BOOLEAN = { value_type: 'boolean', variations: [{ key: 'on', value: true }, { key: 'off', value: false }], off_variation: 'off', default_variation: 'off', enabled: true };

/** The receipt of a change that is everywhere. */
export const receiptOf = (page) => page.locator('[data-receipt="live"], [data-receipt="superseded"]');

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser = null;

export async function start() {
  browser ??= await chromium.launch({ executablePath: process.env.FLAGFUSE_CHROMIUM, timeout: LIMIT_MS, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  return browser;
}

export async function stop() {
  await browser?.close();
  browser = null;
}

/** A request of the API with all rights. */
export async function admin(method, path, body) {
  const response = await fetch(`${URL_}/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${ADMIN}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  const answer = await response.json();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer;
}

let count = 0;

/** The sign-in link of a new member with a role. */
export async function linkOf(role, where = {}) {
  count += 1;
  const { code } = await admin('POST', '/members', { name: `${role}-${count}-${process.pid}`, roles: [{ role, ...where }] });
  return `${URL_}/#login=${encodeURIComponent(code)}`;
}

/** The cookies of somebody who followed a link. */
export async function session(link) {
  const context = await (await start()).newContext();
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  await page.goto(link);
  await page.locator('nav').first().waitFor();
  const state = await context.storageState();
  await context.close();
  return state;
}

/** A page with all that a browser had to complain about: console errors, reports of the policy, errors, refused requests. */
export async function open({ state, scheme = 'light', width = 1280, height = 800, zoom = 1 } = {}) {
  const context = await (await start()).newContext({ storageState: state, colorScheme: scheme, viewport: { width: width / zoom, height: height / zoom }, deviceScaleFactor: zoom, reducedMotion: 'reduce' });
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  const complaints = [];
  const note = (what, more) => complaints.push(`${page.url()}: ${what}: ${more}`);
  page.on('console', (message) => message.type() === 'error' && note('console', message.text()));
  page.on('pageerror', (error) => note('error', error.message));
  page.on('response', (response) => response.status() === 403 && note('403', response.url()));
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  return { page, context, complaints };
}

/** Goes to another screen of the page that is open, as a link does. */
export async function go(page, route) {
  await page.evaluate((path) => {
    history.pushState({}, '', path);
    dispatchEvent(new PopStateEvent('popstate'));
  }, `${PLACE}${route}`);
  await settled(page);
}

/** Until nothing is loading any more: asked when the page has nothing left to do, so that what begins to load is seen loading. */
export async function settled(page) {
  await page.locator('h1').first().waitFor();
  const isStill = () => new Promise((tell) => requestIdleCallback(() => tell(document.querySelector('[aria-busy="true"]') === null)));
  await page.waitForFunction(isStill, undefined, { timeout: LIMIT_MS });
}

/** The two keys that lead to a screen, until its title is there: a pause of the machine between them makes them mean nothing. */
export async function chord(page, key, title) {
  const heading = page.getByRole('heading', { level: 1, name: title });
  for (const end = Date.now() + LIMIT_MS; ;) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    const isThere = await heading.waitFor({ timeout: 5_000 }).then(() => true, () => false);
    if (isThere) return;
    assert.ok(Date.now() < end, `g ${key} leads to “${title}”: not within ${LIMIT_MS} ms`);
  }
}

/**
 * Sends what a sheet asks, by its keys or its button, and waits for the receipt. Both do nothing while the page asks the server
 * anew, as it does after an event of the feed.
 */
export async function send(page, { verb = /^Publish/, clicks = false } = {}) {
  const ready = page.getByRole('button', { name: verb }).and(page.locator(':enabled:not([data-loading])'));
  const sent = page.locator('[data-receipt]');
  for (const end = Date.now() + LIMIT_MS; ;) {
    await ready.or(sent).first().waitFor();
    if ((await sent.count()) > 0) break;
    assert.ok(Date.now() < end, `nothing is sent within ${LIMIT_MS} ms`);
    if (clicks) await ready.click({ timeout: 5_000 }).catch(() => undefined);
    else await page.keyboard.press('ControlOrMeta+Enter');
    await sent.first().waitFor({ timeout: 5_000 }).catch(() => undefined);
  }
  await receiptOf(page).waitFor();
}

/** Everything that axe finds on what is on screen, or on a part of it, by rule and place. */
export async function faults(page, part = 'html') {
  // Colours of a state that has just begun are there a frame later.
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
  const found = await page.evaluate((within) =>
    window.axe.run(within, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'], resultTypes: ['violations'] }),
    part,
  );
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')} ${node.any[0]?.message ?? node.failureSummary}`));
}

/** Waits for something with a name that begins so, and walks to it with Tab. */
export async function tabTo(page, name, steps = 120) {
  const isThere = (begin) => [...document.querySelectorAll('a, button, input, select, textarea, summary, [tabindex]')]
    .some((at) => (at.getAttribute('aria-label') ?? at.innerText ?? '').replace(/\s+/g, ' ').trim().startsWith(begin));
  await page.waitForFunction(isThere, name, { timeout: LIMIT_MS });
  for (let step = 0; step < steps; step += 1) {
    await page.keyboard.press('Tab');
    const text = await page.evaluate(() => {
      const at = document.activeElement;
      return (at?.getAttribute('aria-label') ?? at?.innerText ?? '').replace(/\s+/g, ' ').trim();
    });
    if (text.startsWith(name)) return;
  }
  assert.fail(`${steps} steps with Tab do not lead to “${name}”`);
}

/** Of times in milliseconds what is said of them: the middle one, the 95th percentile, the worst. */
export function times(list) {
  const sorted = [...list].sort((one, other) => one - other);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)].toFixed(0);
  return `p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, worst ${at(1)} ms, of ${sorted.length}`;
}

/** A wire to the control plane that can be cut, or stand still until it is cut: `url` is its near end. */
export async function wire() {
  const target = new URL(URL_);
  const open = new Set();
  let [isCut, isStill] = [false, false];
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    if (isStill) return void open.add(near.on('error', () => near.destroy()).on('close', () => open.delete(near)));
    const far = connect(Number(target.port), target.hostname);
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => (open.delete(one), other.destroy()));
      one.pipe(other);
    }
    return undefined;
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const cut = (now) => {
    [isCut, isStill] = [now, false];
    if (now) open.forEach((socket) => socket.destroy());
  };
  // Nothing arrives any more, and nobody is told, whoever connects anew included: a cable that was pulled.
  const stall = () => {
    isStill = true;
    open.forEach((socket) => socket.pause().unpipe());
  };
  return { url: `http://127.0.0.1:${server.address().port}`, cut, stall, end: () => (cut(true), server.close()) };
}

/** A picture to look at. */
export async function shot(page, name) {
  if (SHOTS !== undefined) await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
}
