import react from '@vitejs/plugin-react';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { defineConfig } from 'vite';

/** Packs what the control plane hands out once, here, rather than for each answer. */
function packed(folder) {
  return {
    name: 'packed',
    async closeBundle() {
      for (const name of await readdir(folder)) {
        if (!/\.(js|css|svg)$/.test(name)) continue;
        const bytes = await readFile(join(folder, name));
        await writeFile(join(folder, `${name}.gz`), gzipSync(bytes, { level: 9 }));
        await writeFile(join(folder, `${name}.br`), brotliCompressSync(bytes));
      }
    },
  };
}

// Own code is compiled to dist/; the control plane embeds it and renders index.html with a nonce for each answer.
export default defineConfig({
  plugins: [react(), packed('dist/assets')],
  // Chunks find each other beside themselves; index.html names them from the base path that it is rendered with.
  base: './',
  build: {
    manifest: 'manifest.json',
    outDir: 'dist',
    target: 'es2022',
    // Inlined files would need `data:` where the policy has none.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  worker: { format: 'es' },
  // `npx vite` beside a control plane that runs.
  server: { proxy: { '/v1': process.env.FLAGFUSE_URL ?? 'http://127.0.0.1:7400' } },
});
