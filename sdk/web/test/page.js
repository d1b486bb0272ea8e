// What an application does: the official SDK and provider, and the package beside them. `window.start` begins, `window.ff` is it.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature } from '@openfeature/web-sdk';
import { flagfuse } from '../dist/index.js';

window.pageshows = [];
addEventListener('pageshow', ({ persisted }) => window.pageshows.push(persisted));
window.thrown = [];
addEventListener('error', ({ message }) => window.thrown.push(message));
window.drops = [];
window.kept = [];

window.flagfuse = flagfuse;

window.start = async ({ edge, key, unit, attributes, options = {}, provider = {} }) => {
  window.ff = flagfuse({
    edge, key, errors: false, latency: false, session: false, gatherMs: 50, onDrop: (drop) => window.drops.push(drop), ...options,
  });
  window.client = OpenFeature.getClient();
  window.flag = (name) => window.client.getBooleanValue(name, false);
  window.OpenFeature = OpenFeature;
  await OpenFeature.setContext({ ...(unit !== undefined && { targetingKey: unit }), ...attributes });
  if (provider === null) return;
  const official = new OFREPWebProvider({
    baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]], changeDetection: 'none', pollInterval: 0, cacheMode: 'disabled', ...provider,
  });
  await OpenFeature.setProviderAndWait(window.ff.instrument(official));
};

// Tracks so many, and notes which were acknowledged to the page and how.
window.trackMany = (count, name = 'conversion') => {
  for (let n = 0; n < count; n += 1) window.kept.push(window.ff.track(name, { value: n }));
  return window.kept.slice(-count);
};

// A visitor comes, meets a flag, and converts with one chance or the other: what it saw and did, and when it was answered.
window.visit = async (unit, flag, [chanceOn, chanceOff]) => {
  await window.OpenFeature.setContext({ targetingKey: unit });
  const { value, flagMetadata } = window.client.getBooleanDetails(flag, false);
  const answered_ms = Date.now();
  const converted = Math.random() < (value ? chanceOn : chanceOff);
  if (converted) window.ff.track('conversion');
  return { saw_feature: value, converted, version: flagMetadata.version ?? 'none', answered_ms };
};
