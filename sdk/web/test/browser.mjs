// An installed Chromium, a site of another origin than the edge's, and pages of it that run `page.js`.
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, within } from '../../../tests/node/bounded.mjs';

const NAMES = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];
const PATHS = [process.env.FLAGFUSE_CHROMIUM, ...NAMES.map((name) => `/usr/bin/${name}`)];

/** Where Chromium is; `undefined` where it is not installed, which fails on a CI machine. The one without windows caches no page that is left. */
export function chromiumPath({ cachesPages = false } = {}) {
  const found = PATHS.find((path) => path && existsSync(path) && !(cachesPages && path.endsWith('headless-shell')));
  if (!found && process.env.CI) throw new Error('Chromium is not installed (on Debian: apt-get install chromium)');
  return found;
}

const local = (name) => new URL(name, import.meta.url).pathname;

/** A script for pages, with the package as it was built and OpenFeature's packages in it. */
async function bundled(entry) {
  const { outputFiles: [{ text }] } = await build({
    ...entry, bundle: true, write: false, platform: 'browser', format: 'esm', target: 'es2022', logLevel: 'error',
    alias: { '@flagfuse/web': local('../dist/index.js') }, nodePaths: [local('../node_modules')],
  });
  return text;
}

/** The documentation's page: the block after a heading. */
async function documented(file, heading) {
  const text = await readFile(local(`../../../docs/${file}`), 'utf8');
  const [, block] = text.slice(text.indexOf(`\n## ${heading}\n`)).match(/```js\n(.*?)```/s);
  return bundled({ stdin: { contents: block, resolveDir: local('.') } });
}

/** A site with the page, another page beside it, and the page in a sandbox: an origin of its own, without any storage. */
async function startSite() {
  const scripts = { '/page.js': await bundled({ entryPoints: [local('page.js')] }), '/events.js': await documented('events.md', 'In a page') };
  const html = (body, more = '') => `<!doctype html><meta charset="utf-8"><title>A page</title><link rel="icon" href="data:,"><body ${more}>${body}`;
  const page = html('<script type="module" src="/page.js"></script>');
  const server = createServer(({ url }, response) => {
    const { pathname, searchParams } = new URL(url, 'http://site');
    const data = `data-edge="${searchParams.get('edge')}" data-key="${searchParams.get('key')}"`;
    const [type, content, headers] = {
      '/page.html': ['text/html', page],
      '/sandbox.html': ['text/html', page, { 'content-security-policy': 'sandbox allow-scripts' }],
      '/events.html': ['text/html', html('<button>Buy</button><script type="module" src="/events.js"></script>', data)],
    }[pathname] ?? (scripts[pathname] ? ['text/javascript', scripts[pathname]] : ['text/html', html('Another page')]);
    // A page in a sandbox asks for its script from an origin of its own.
    response.writeHead(200, { 'content-type': `${type};charset=utf-8`, 'access-control-allow-origin': '*', ...headers }).end(content);
  });
  await within('a port', new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.closeAllConnections() || server.close() };
}

/** What a person's browser calls itself; a headless one is taken for a bot, and counted apart. */
const USER_AGENT = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36';

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
      // A name of this machine that is no secure context, as `http://` is anywhere else.
      '--host-resolver-rules=MAP insecure.test 127.0.0.1',
    ],
  });
  const profile = () => browser.newContext({ userAgent: USER_AGENT });
  const load = async (context, path = '/page.html') => {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(new URL(path, site.url).href, { timeout: PATIENCE_MS });
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
  return { browser, site, profile, load, open, close };
}
