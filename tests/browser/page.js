// What an application does: the official SDK with the official provider and its defaults, and one flag on the page.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';

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
