// Asks a real edge through the real OpenFeature server SDK and prints what it saw as JSON.
import { createEvaluationEvent } from '@openfeature/core';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';
import { within } from './bounded.mjs';

const [edge, key] = process.argv.slice(2);
const provider = (key) => new OFREPProvider({ baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]] });
await within('the provider is ready', OpenFeature.setProviderAndWait('good', provider(key)));
const wrongProvider = provider('demo:production.wrong');
await within('the provider with a wrong key is ready', OpenFeature.setProviderAndWait('wrong', wrongProvider));
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
  boolean: brief(await within('boolean', client.getBooleanDetails('legacy-search', true, user))),
  guarded: brief(await within('guarded', client.getBooleanDetails('new-checkout', false, user))),
  string: brief(await within('string', client.getStringDetails('banner-text', 'default', user))),
  integer: brief(await within('integer', client.getNumberDetails('max-items', -1, user))),
  float: brief(await within('float', client.getNumberDetails('discount-rate', -1, user))),
  object: brief(await within('object', client.getObjectDetails('theme', {}, user))),
  missing: brief(await within('missing', client.getBooleanDetails('no-such-flag', true, user))),
  wrong_type: brief(await within('wrong_type', client.getBooleanDetails('banner-text', true, user))),
  no_unit: brief(await within('no_unit', client.getObjectDetails('theme', {}, {}))),
  wrong_key: brief(await within('wrong_key', wrong.getStringDetails('banner-text', 'fallback', user))),
};
console.log(JSON.stringify({ ...seen, events }));
await within('the SDK ends', OpenFeature.close());
