// Pages against a real edge: each visitor's page has all flags and uses two of those that fuses watch, on one device or another.
// Prints what each was shown and what was acknowledged, for whoever knows what the control plane counted.
import { until, within } from '../../../tests/node/bounded.mjs';
import { chromiumPath, startBrowser } from './browser.mjs';
import { Edge } from './edge.mjs';

const [upstream, key, visitors, ...used] = process.argv.slice(2);
const world = await startBrowser(chromiumPath());
const edge = await Edge.start({ upstream, key });
const devices = ['mobile', 'desktop', undefined];
const [shown, device] = [{}, {}];
let conversions = 0;
for (let n = 0; n < Number(visitors); n += 1) {
  const context = await world.profile();
  const unit = `visitor-${n}`;
  device[unit] = devices[n % devices.length];
  const visit = { unit, attributes: device[unit] && { device: device[unit] }, options: { session: true } };
  const page = await world.open(context, edge, visit);
  const render = () => page.evaluate((flags) => flags.map((name) => window.client.getBooleanDetails(name, false).variant), used);
  shown[unit] = await render();
  for (let again = 0; again < 5; again += 1) await render();
  if (n % 2 === 0) {
    await page.evaluate(() => window.trackMany(1));
    conversions += 1;
  }
  // Every third visitor leaves at once, and the beacon has the rest; every third one comes back.
  if (n % 3 !== 0) await until(`the queue of ${unit} is empty`, () => page.evaluate(() => window.ff.status().pending === 0));
  await within('the tab closes', page.close({ runBeforeUnload: false }));
  if (n % 3 !== 1) {
    const again = await world.open(context, edge, visit);
    await again.evaluate((flags) => flags.map((name) => window.flag(name)), used);
    await until(`the queue of ${unit} is empty`, () => again.evaluate(() => window.ff.status().pending === 0));
  }
  await within('the profile closes', context.close());
}
const unproven = [...edge.ledger.values()].filter((entry) => entry.unproven).length;
const times = [...edge.ledger.values()].map((entry) => entry.times);
console.log(JSON.stringify({
  shown, device, conversions, unproven, conflicts: edge.conflicts.length, preflights: edge.preflights, requests: edge.requests.length,
  events: edge.ledger.size, sent_again: times.filter((count) => count > 1).length,
  exposures: edge.events('exposure').length, sessions: edge.events('outcome').filter(({ metric }) => metric === 'session').length,
  refused: edge.requests.filter(({ status }) => status >= 400).length,
}));
await within('the browser ends', world.close());
edge.close();
process.exit();
