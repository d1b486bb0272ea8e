// An installed Chromium, a site of another origin than the edge's, and pages of it that run `page.js`.
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, within } from '../../../tests/node/bounded.mjs';

const PATHS = [process.env.FLAGFUSE_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Where Chromium is; `undefined` where it is not installed, which fails on a CI machine. */
export function chromiumPath() {
  const found = PATHS.find((path) => path && existsSync(path));
  if (!found && process.env.CI) throw new Error('Chromium is not installed (on Debian: apt-get install chromium)');
  return found;
}

/** A site with the page, another page beside it, and the page in a sandbox: an origin of its own, without any storage. */
async function startSite() {
  const here = new URL('page.js', import.meta.url).pathname;
  const bundle = await build({ entryPoints: [here], bundle: true, write: false, platform: 'browser', target: 'es2022', logLevel: 'error' });
  const script = bundle.outputFiles[0].text;
  const page = '<!doctype html><meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,"><script src="/page.js"></script>';
  const server = createServer(({ url }, response) => {
    const [type, content, headers] = {
      '/page.js': ['text/javascript', script],
      '/page.html': ['text/html', page],
      '/sandbox.html': ['text/html', page, { 'content-security-policy': 'sandbox allow-scripts' }],
    }[url] ?? ['text/html', '<!doctype html><title>Another page</title><link rel="icon" href="data:,">'];
    response.writeHead(200, { 'content-type': `${type};charset=utf-8`, ...headers }).end(content);
  });
  await within('a port', new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.closeAllConnections() || server.close() };
}

/** Starts both. `open` gives a page on which the package runs. */
export async function startBrowser(executablePath) {
  const site = await startSite();
  const browser = await chromium.launch({
    executablePath,
    timeout: PATIENCE_MS,
    // Playwright switches it off.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--enable-features=BackForwardCache',
    ],
  });
  const load = async (context, path = '/page.html') => {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(site.url + path, { timeout: PATIENCE_MS });
    return page;
  };
  const open = async (context, edge, { path, ...more } = {}) => {
    const page = await load(context, path);
    await within('the page starts', page.evaluate((options) => window.start(options), { edge: edge.url, key: edge.key, ...more }));
    return page;
  };
  const close = async () => {
    await within('the browser ends', browser.close());
    site.close();
  };
  return { browser, site, load, open, close };
}
