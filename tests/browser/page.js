// What an application does: the official SDK with the official provider and its defaults, and one flag on the page.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { UnleashClient } from 'unleash-proxy-client';

// Every change of the flag as the page saw it, with the time.
window.changes = [];

window.start = async ({ edge, key, flag }) => {
  const client = OpenFeature.getClient();
  window.value = () => client.getStringValue(flag, 'the code default');
  const note = () => {
    const value = window.value();
    if (window.changes.at(-1)?.value !== value) window.changes.push({ value, at_ms: Date.now() });
  };
  client.addHandler(ProviderEvents.ConfigurationChanged, note);
  const provider = new OFREPWebProvider({ baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]] });
  await OpenFeature.setContext({ targetingKey: 'somebody' });
  await OpenFeature.setProviderAndWait(provider);
  note();
  return window.value();
};

// The same page with Unleash's own web SDK, its defaults and its metrics: what it decided and which headers a page can read.
window.startUnleash = async ({ edge, key, flag }) => {
  const headers = {};
  const client = new UnleashClient({
    url: `${edge}/api/frontend`, clientKey: key, appName: 'page', context: { userId: 'somebody' },
    fetch: async (...request) => {
      const response = await fetch(...request);
      for (const [name, value] of response.headers) headers[name] = value;
      return response;
    },
  });
  const failed = new Promise((_, reject) => client.on('error', reject));
  await Promise.race([client.start(), failed]);
  const outcome = { isEnabled: client.isEnabled(flag), variant: client.getVariant(flag) };
  // A second question brings the validator along, which asks the browser for a preflight of its own.
  await Promise.race([client.updateToggles(), failed]);
  await Promise.race([client.sendMetrics(), failed]);
  client.stop();
  return { ...outcome, headers };
};
