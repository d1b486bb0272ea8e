// Asks a real edge through the real OpenFeature web SDK and prints what its telemetry would send, as JSON. No page needed.
import { createEvaluationEvent } from '@openfeature/core';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { OpenFeature } from '@openfeature/web-sdk';

const [edge, key, ...flags] = process.argv.slice(2);
const provider = new OFREPWebProvider({
  baseUrl: edge, headers: [['Authorization', `Bearer ${key}`]], changeDetection: 'none', pollInterval: 0,
});
await OpenFeature.setContext({ targetingKey: 'user-7' });
await OpenFeature.setProviderAndWait(provider);
const client = OpenFeature.getClient();
const events = {};
client.addHooks({
  finally: (hookContext, details) => {
    events[hookContext.flagKey] = createEvaluationEvent(hookContext, details);
  },
});
for (const flag of flags) client.getBooleanDetails(flag, false);
console.log(JSON.stringify(events));
await OpenFeature.close();
process.exit();
