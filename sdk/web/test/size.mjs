// Says how large the package is in a page, minified and compressed, with all of it in use, and fails above 6 KiB.
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const LIMIT = 6 * 1_024;
const entry = new URL('../dist/index.js', import.meta.url).pathname;
const { outputFiles: [{ contents }] } = await build({
  entryPoints: [entry], bundle: true, minify: true, format: 'esm', external: ['@openfeature/web-sdk'], write: false, logLevel: 'error',
});
const size = gzipSync(contents, { level: 9 }).length;
console.log(`${size} bytes compressed, ${contents.length} minified; the limit is ${LIMIT}`);
// Whoever imports it and does not use it has none of it.
const unused = await build({
  stdin: { contents: `import '${entry}';`, resolveDir: '.' }, bundle: true, minify: true, format: 'esm', external: ['@openfeature/web-sdk'],
  write: false, logLevel: 'error',
});
const left = unused.outputFiles[0].text.replaceAll(/import *"@openfeature\/web-sdk";?/g, '').trim();
if (size > LIMIT || left !== '') {
  console.error(size > LIMIT ? 'too large' : `an unused import leaves: ${left.slice(0, 200)}`);
  process.exit(1);
}
