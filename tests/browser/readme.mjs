// Opens the README's page in an installed Chromium and prints what it says on its console, until it has said `promise`.
import { createServer } from 'node:http';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, within } from '../node/bounded.mjs';

const [executablePath, script, edge, key, promise] = process.argv.slice(2);
const packages = new URL('node_modules', import.meta.url).pathname;
const bundle = await build({
  entryPoints: [script], bundle: true, write: false, platform: 'browser', format: 'esm', nodePaths: [packages], logLevel: 'error',
});
const page = `<body data-edge="${edge}" data-key="${key}"><script type="module">${bundle.outputFiles[0].text}</script></body>`;
// Another origin than the edge's, as a real page has.
const server = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(page));
await within('a port', new Promise((resolve) => server.listen(0, '127.0.0.1', resolve)));

const browser = await chromium.launch({
  executablePath, timeout: PATIENCE_MS, args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run'],
});
const tab = await browser.newPage();
const said = new Promise((resolve, reject) => {
  tab.on('pageerror', reject);
  tab.on('console', (message) => {
    console.log(message.text());
    if (message.text().includes(promise)) resolve();
  });
});
await tab.goto(`http://127.0.0.1:${server.address().port}/`, { timeout: PATIENCE_MS });
await within(`the page says ${JSON.stringify(promise)}`, said);
await within('the browser ends', browser.close());
process.exit();
