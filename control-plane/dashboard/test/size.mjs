// What a browser has to fetch, packed, from the manifest of the build; and how much of our own there is to read.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const FIRST_VIEW_KIB = 225;
const STYLE_KIB = 30;
const ROUTE_KIB = 150;
const LINES = 9_000;
const FILE_LINES = 400;

const root = new URL('..', import.meta.url).pathname;
const manifest = JSON.parse(readFileSync(join(root, 'dist/manifest.json'), 'utf8'));
const kib = (file) => gzipSync(readFileSync(join(root, 'dist', file)), { level: 9 }).length / 1024;

/** All files that a module brings along when it is read. */
function files(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  (manifest[name].imports ?? []).forEach((other) => files(other, seen));
  return seen;
}

const scripts = (names) => [...names].map((name) => manifest[name].file).filter((file) => file.endsWith('.js'));
const styles = (names) => [...names].flatMap((name) => manifest[name].css ?? []);
const sum = (list) => [...new Set(list)].reduce((total, file) => total + kib(file), 0);

const entry = Object.keys(manifest).find((name) => manifest[name].isEntry);
const routes = manifest[entry].dynamicImports ?? [];
const overview = routes.find((name) => name.endsWith('routes/overview.tsx'));
const first = new Set([...files(entry), ...files(overview)]);
const [script, style] = [sum(scripts(first)), sum(styles(first))];
console.log(`first view: ${script.toFixed(1)} KiB of script, ${style.toFixed(1)} KiB of CSS, packed with gzip`);
assert.ok(script <= FIRST_VIEW_KIB, `script of the first view: ${script.toFixed(1)} KiB, at most ${FIRST_VIEW_KIB}`);
assert.ok(style <= STYLE_KIB, `CSS: ${style.toFixed(1)} KiB, at most ${STYLE_KIB}`);
for (const route of routes) {
  const more = sum(scripts(files(route)).filter((file) => !scripts(first).includes(file)));
  console.log(`${route}: ${more.toFixed(1)} KiB more`);
  assert.ok(more <= ROUTE_KIB, `${route}: ${more.toFixed(1)} KiB more than the first view, at most ${ROUTE_KIB}`);
}

let lines = 0;
const folders = [join(root, 'src')];
while (folders.length > 0) {
  const folder = folders.pop();
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) folders.push(path);
    else if (/\.tsx?$/.test(entry.name)) {
      const count = readFileSync(path, 'utf8').split('\n').length - 1;
      lines += count;
      assert.ok(count <= FILE_LINES, `${path} has ${count} lines, at most ${FILE_LINES}`);
    }
  }
}
console.log(`${lines} lines of TypeScript`);
assert.ok(lines <= LINES, `${lines} lines of TypeScript, at most ${LINES}`);
