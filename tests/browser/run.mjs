// Drives an installed Chromium for `tests/browser.rs`: a line of JSON with a command in, a line with its outcome out.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, within } from '../node/bounded.mjs';

const [executablePath, edge, key, flag, expiredToken] = process.argv.slice(2);
const here = (name) => new URL(name, import.meta.url);

const bundle = await build({
  entryPoints: [here('page.js').pathname], bundle: true, write: false, platform: 'browser', logLevel: 'error',
});
const files = {
  '/page.html': ['text/html', await readFile(here('page.html'))],
  '/page.js': ['text/javascript', bundle.outputFiles[0].contents],
};
// Another origin than the edge's, as a real page has.
const server = createServer(({ url }, response) => {
  const [type, content] = files[url] ?? ['text/plain', ''];
  response.writeHead(content === '' ? 404 : 200, { 'content-type': type }).end(content);
});
await within('a port', new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));
const pageUrl = `http://127.0.0.1:${server.address().port}/page.html`;

const browser = await chromium.launch({
  executablePath,
  timeout: PATIENCE_MS,
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});

const BULK = '**/ofrep/v1/evaluate/flags*';
const STREAM = '**/v1/stream*';
const withExpiredToken = (text) => text.replace(/token=[^"]*/, `token=${expiredToken}`);

// How a tab's network is bent before the page starts.
const bends = {
  none: async () => {},
  // Each answer names a stream whose token has expired, and its validator goes on matching: the worst case.
  expired: (page) => page.route(BULK, async (route) => {
    const response = await route.fetch({ timeout: PATIENCE_MS });
    const body = response.status() === 200 ? withExpiredToken(await response.text()) : undefined;
    await route.fulfill({ response, body });
  }),
  // A page that slept for a day: what it has is old, what it gets is new.
  slept: (page) => page.route(BULK, async (route) => {
    const response = await route.fetch({ timeout: PATIENCE_MS });
    const headers = { ...response.headers(), etag: '"of yesterday"' };
    await route.fulfill({ response, headers, body: withExpiredToken(await response.text()) });
  }, { times: 1 }),
  // What an edge would do that answers an expired token with an error.
  trap: async (page) => {
    await bends.expired(page);
    await page.route(STREAM, (route) => route.fulfill({ status: 401, json: { metadata: {} } }));
  },
};

// Tabs of one browser share what their pages store, as tabs do; those whose network is bent have a browser of their own.
const shared = await browser.newContext();
const tabs = {};

const commands = {
  async open({ tab, bend = 'none' }) {
    const context = bend === 'none' ? shared : await browser.newContext();
    const page = await context.newPage();
    const requests = [];
    page.on('request', (request) => {
      const url = request.url();
      if (url.startsWith(edge) && request.method() !== 'OPTIONS') requests.push({ url, at_ms: Date.now() });
    });
    await bends[bend](page);
    await page.goto(pageUrl, { timeout: PATIENCE_MS });
    tabs[tab] = { page, requests };
    return within('the page starts', page.evaluate((options) => window.start(options), { edge, key, flag }));
  },
  // A page with Unleash's SDK instead, and what its preflights asked for and were allowed.
  async unleash() {
    const page = await (await browser.newContext()).newPage();
    await page.goto(pageUrl, { timeout: PATIENCE_MS });
    return within('Unleash starts', page.evaluate((options) => window.startUnleash(options), { edge, key, flag }));
  },
  // When the page first had the value, having had another one.
  async seen({ tab, value }) {
    const { page } = tabs[tab];
    await page.waitForFunction((value) => window.changes.at(-1)?.value === value, value, {
      polling: 20, timeout: PATIENCE_MS,
    });
    return page.evaluate(() => window.changes.at(-1).at_ms);
  },
  // All bulk and stream requests of a tab, and how long it has been open.
  async requests({ tab }) {
    const { requests } = tabs[tab];
    const count = (part) => requests.filter(({ url }) => url.includes(part)).length;
    return { bulk: count('/ofrep/'), stream: count('/v1/stream'), open_ms: Date.now() - requests[0].at_ms };
  },
  // Waits for a stream with a token that has not expired; says how long after the tab's first request it came.
  async moved({ tab }) {
    const { page, requests } = tabs[tab];
    const isNew = (url) => url.includes('/v1/stream') && !url.includes(expiredToken);
    if (!requests.some(({ url }) => isNew(url))) {
      await page.waitForRequest((request) => isNew(request.url()), { timeout: PATIENCE_MS });
    }
    return requests.find(({ url }) => isNew(url)).at_ms - requests[0].at_ms;
  },
  // Takes places at the notifier until there is none: the last of the streams is turned away.
  async fill({ uri }) {
    for (let count = 0; count < 100; count += 1) {
      const response = await within('a stream is answered', fetch(`${edge}${uri}`));
      const { value } = await within('a stream says something', response.body.getReader().read());
      if (/retry: [6-9]\d{4}/.test(new TextDecoder().decode(value))) return count;
    }
    throw new Error('there is always room');
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  let outcome;
  try {
    outcome = { ok: await commands[command](options) };
  } catch (error) {
    outcome = { error: String(error.stack ?? error) };
  }
  console.log(JSON.stringify(outcome));
}
await within('the browser ends', browser.close());
process.exit();
