// Compiled, never run: the package's types fit OpenFeature's and the official provider's.
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { InMemoryProvider, OpenFeature, type Provider, type TrackingEventDetails } from '@openfeature/web-sdk';
import { type Drop, type Event, type Flagfuse, flagfuse, type Place, type Status } from '@flagfuse/web';

const events: Flagfuse = flagfuse({
  edge: 'https://flags.example.com', key: 'demo:production.key', consent: false, domain: 'shop', errors: false,
  latency: (entry: PerformanceEntry) => entry.name.includes('/api/'), unitAttributes: { plan: 'company' }, gatherMs: 500,
  onDrop: ({ code, reason, event }: Drop) => console.log(code, reason, (event satisfies Event | undefined)?.id),
});
const official: OFREPWebProvider = events.instrument(new OFREPWebProvider({ baseUrl: 'https://flags.example.com' }));
const other: Provider = events.instrument(new InMemoryProvider({}));
await OpenFeature.setProviderAndWait(official);
await OpenFeature.setProviderAndWait('shop', other);
const details: TrackingEventDetails = { value: 12.5, currency: 'EUR' };
const place: Place = events.track('revenue', details);
const status: Status = events.status();
const unit: string = events.deviceUnit();
const sent: Promise<void> = events.flush();
events.setConsent(true);
events.close();
// @ts-expect-error A page has to name its key.
flagfuse({ edge: 'https://flags.example.com' });
// @ts-expect-error A value is a number.
events.track('revenue', { value: 'much' });
export { place, sent, status, unit };
