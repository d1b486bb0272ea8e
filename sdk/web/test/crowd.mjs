// Visitors in a real browser, for `cargo xtask demo --browser`: a page for each isolate, loaded anew for every group of them. A
// line of JSON with `units` in, a line with what each saw and did out, in their order.
import { createInterface } from 'node:readline';
import { PATIENCE_MS, within } from '../../../tests/node/bounded.mjs';
import { chromiumPath, startBrowser } from './browser.mjs';

const [key, flag, chanceOn, chanceOff, ...edges] = process.argv.slice(2);
const path = chromiumPath();
if (!path) throw new Error('Chromium is not installed (on Debian: apt-get install chromium)');
const world = await startBrowser(path);
const chances = [Number(chanceOn), Number(chanceOff)];
const profiles = await Promise.all(edges.map(() => world.profile()));

/** Those of one isolate, one after the other on a page that is left when they have been there. */
async function group(at, units) {
  const page = await world.open(profiles[at], { url: edges[at], key }, { unit: units[0] ?? 'nobody', options: { errors: true, latency: true, session: true } });
  const visits = await within('the visits', page.evaluate(async ([units, flag, chances]) => {
    const visits = [];
    for (const unit of units) visits.push(await window.visit(unit, flag, chances));
    await window.ff.flush();
    return visits;
  }, [units, flag, chances]));
  await within('the tab closes', page.close({ runBeforeUnload: false }));
  return visits;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { units } = JSON.parse(line);
    const groups = edges.map((_, at) => units.filter((_, n) => n % edges.length === at));
    const visits = await within('all groups', Promise.all(groups.map((own, at) => group(at, own))), PATIENCE_MS);
    answer = { visits: units.map((_, n) => ({ isolate: n % edges.length, ...visits[n % edges.length][Math.floor(n / edges.length)] })) };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await within('the browser ends', world.close());
process.exit();
