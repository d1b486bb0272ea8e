// Asks a real edge through Unleash's real backend and frontend SDKs and prints what both decided as JSON.
import { createRequire } from 'node:module';
import { initialize } from 'unleash-client';
import { UnleashClient } from 'unleash-proxy-client';
import { within } from './bounded.mjs';

const [edge, key, original] = process.argv.slice(2);
const TOGGLES = ['half', 'beta', 'child', 'off'];
const contexts = Array.from({ length: 40 }, (_, n) => ({
  userId: `user-${n}`,
  properties: { plan: n % 4 === 0 ? 'beta' : 'free' },
}));
const brief = ({ name, enabled, payload }) => ({ name, enabled, payload });
const see = (isEnabled, variant) => ({
  ...Object.fromEntries(TOGGLES.map((toggle) => [toggle, isEnabled(toggle)])),
  colour: brief(variant('colour')),
  thirds: brief(variant('thirds')),
});
const fail = (error) => {
  console.error(error);
  process.exit(1);
};

// Fetches /api/client/features once and decides by itself.
const backend = initialize({
  url: `${edge}/api/`,
  appName: 'backend',
  customHeaders: { Authorization: key },
  disableMetrics: false,
  metricsInterval: 3_600_000,
  refreshInterval: 3_600_000,
  disableAutoStart: false,
});
backend.on('error', fail);
await within('the backend SDK has its toggles', new Promise((resolve) => backend.on('synchronized', resolve)));
const byBackend = contexts.map((context) =>
  see((toggle) => backend.isEnabled(toggle, context), (toggle) => backend.getVariant(toggle, context)),
);

// Decides over the document as it was before it was imported.
const require = createRequire(import.meta.url);
const { default: Reference } = require('unleash-client/lib/client');
const { defaultStrategies } = require('unleash-client/lib/strategy');
const { features, segments } = JSON.parse(original);
const reference = new Reference({
  getToggle: (name) => features.find((feature) => feature.name === name),
  getSegment: (id) => segments.find((segment) => segment.id === id),
}, defaultStrategies);
const byReference = contexts.map((context) =>
  see((toggle) => reference.isEnabled(toggle, context, () => false), (toggle) => reference.getVariant(toggle, context)),
);

// Asks /api/frontend for each context and counts.
const frontend = new UnleashClient({
  url: `${edge}/api/frontend`,
  clientKey: key,
  appName: 'frontend',
  disableRefresh: true,
  metricsIntervalInitial: 0,
  metricsInterval: 3_600,
  context: contexts[0],
});
frontend.on('error', fail);
await within('the frontend SDK has its toggles', frontend.start());
const byFrontend = [];
for (const context of contexts) {
  await within(`the toggles of ${context.userId}`, frontend.updateContext(context));
  byFrontend.push(see((toggle) => frontend.isEnabled(toggle), (toggle) => frontend.getVariant(toggle)));
}
const variants = [...byBackend, ...byFrontend].map(({ colour }) => colour.name);
const asked = {
  yes: variants.length,
  red: variants.filter((name) => name === 'red').length,
  blue: variants.filter((name) => name === 'blue').length,
};
await within('the backend SDK sends its metrics', backend.flushMetrics?.());
await within('the frontend SDK sends its metrics', frontend.sendMetrics());
await within('the backend SDK ends', backend.destroyWithFlush?.());
frontend.stop();
const users = contexts.map((context, at) => ({ context, backend: byBackend[at], reference: byReference[at], frontend: byFrontend[at] }));
console.log(JSON.stringify({ users, asked }));
process.exit(0);
