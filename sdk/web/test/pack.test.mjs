// What `npm pack` makes installs into an empty folder, has only what it needs, and runs there.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

const LIMIT_MS = 240_000;
const run = promisify(execFile);
const here = new URL('..', import.meta.url).pathname;

test('the package installs into an empty folder and runs there', { timeout: 3 * LIMIT_MS }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'flagfuse-web-'));
  try {
    const npm = (cwd, ...args) => run('npm', args, { cwd, timeout: LIMIT_MS });
    const { stdout } = await npm(here, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder);
    const [packed] = Object.values(JSON.parse(stdout));
    const names = packed.files.map(({ path }) => path).sort();
    assert.ok(names.every((name) => /^(dist\/[a-z]+\.(js|d\.ts)|package\.json|README\.md|LICENSE)$/.test(name)), names.join(' '));
    assert.ok(names.includes('README.md') && names.includes('dist/index.d.ts'), names.join(' '));
    const { peerDependencies, dependencies, devDependencies } = JSON.parse(await readFile(join(here, 'package.json')));
    assert.deepEqual([dependencies, Object.keys(peerDependencies)], [undefined, ['@openfeature/web-sdk']]);
    const peers = ['web-sdk', 'core'].map((name) => `@openfeature/${name}@${devDependencies[`@openfeature/${name}`]}`);
    await writeFile(join(folder, 'package.json'), '{"private": true, "type": "module"}');
    await npm(folder, 'install', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error', `./${packed.filename}`, ...peers);
    // On a server there is no page: it reports nothing and is in nobody's way.
    await writeFile(join(folder, 'run.mjs'), `
      import { InMemoryProvider, OpenFeature } from '@openfeature/web-sdk';
      import { flagfuse } from '@flagfuse/web';
      const events = flagfuse({ edge: 'http://127.0.0.1:9', key: 'demo:production.key' });
      const flag = { variants: { on: true, off: false }, defaultVariant: 'on', disabled: false };
      await OpenFeature.setProviderAndWait(events.instrument(new InMemoryProvider({ flag })), { targetingKey: 'ada' });
      const value = OpenFeature.getClient().getBooleanValue('flag', false);
      console.log(JSON.stringify([value, events.track('conversion'), events.status().pending]));
      await events.flush();
    `);
    const ran = await run(process.execPath, ['run.mjs'], { cwd: folder, timeout: LIMIT_MS });
    assert.deepEqual(JSON.parse(ran.stdout), [true, 'dropped', 0]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
