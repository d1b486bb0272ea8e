// Asks a real edge through the real OpenFeature server SDK and prints what it saw as JSON.
import { createEvaluationEvent } from '@openfeature/core';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';

const [edge, key] = process.argv.slice(2);
const provider = (key) => new OFREPProvider({ baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]] });
await OpenFeature.setProviderAndWait('good', provider(key));
await OpenFeature.setProviderAndWait('wrong', provider('demo:production.wrong'));
const client = OpenFeature.getClient('good');
const wrong = OpenFeature.getClient('wrong');

// What a telemetry hook sends about each evaluation: OpenFeature itself makes it of what the edge answered.
const events = {};
const telemetry = {
  finally: (hookContext, details) => {
    events[hookContext.flagKey] = createEvaluationEvent(hookContext, details);
  },
};
client.addHooks(telemetry);

const user = { targetingKey: 'user-7', country: 'DE', nested: { a: [1, null, { b: true }] } };
const brief = ({ value, variant, reason, errorCode }) => ({ value, variant, reason, errorCode });
const seen = {
  boolean: brief(await client.getBooleanDetails('legacy-search', true, user)),
  guarded: brief(await client.getBooleanDetails('new-checkout', false, user)),
  string: brief(await client.getStringDetails('banner-text', 'default', user)),
  integer: brief(await client.getNumberDetails('max-items', -1, user)),
  float: brief(await client.getNumberDetails('discount-rate', -1, user)),
  object: brief(await client.getObjectDetails('theme', {}, user)),
  missing: brief(await client.getBooleanDetails('no-such-flag', true, user)),
  wrong_type: brief(await client.getBooleanDetails('banner-text', true, user)),
  no_unit: brief(await client.getObjectDetails('theme', {}, {})),
  wrong_key: brief(await wrong.getStringDetails('banner-text', 'fallback', user)),
};
console.log(JSON.stringify({ ...seen, events }));
await OpenFeature.close();
