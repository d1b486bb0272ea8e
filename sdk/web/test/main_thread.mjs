// Measures what the package costs a page's main thread, in Chromium's own trace: every task, in processor time, while the edge
// answers, is slow, hangs, or is gone, and what one call takes. Prints a line of JSON for each, and what it comes to: how much longer
// the longest task was than the longest of a page that tracks nothing. Asserts nothing: machines differ.
import { PATIENCE_MS, until, within } from '../../../tests/node/bounded.mjs';
import { chromiumPath, startBrowser } from './browser.mjs';
import { Edge } from './edge.mjs';

/** No task of a page may become longer by more than this. */
const BAR_MS = 5;
const CALLS = 1_000;
const CATEGORIES = ['devtools.timeline', 'toplevel', '__metadata'];
const IDLE = 'nothing is tracked';
const BACK = 'is back, with 1,000 events waiting';
/** In this order. The first one is for the engine, which compiles what runs often; what it costs is said and not compared. */
const STATES = [
  ['answers, for the first time', () => undefined], [IDLE, () => undefined], ['answers', () => undefined], ['is slow', () => ({ slowMs: 400 })],
  ['hangs', () => ({ hangs: true })], ['is gone', () => ({ cuts: true })], [BACK, () => undefined], [`${IDLE}, again`, () => undefined],
];

const ms = (value) => Math.round(value * 1_000) / 1_000;
const quantile = (sorted, share) => ms(sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0);
const spread = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: ms(sorted.at(-1) ?? 0) };
};

const path = chromiumPath();
if (!path) {
  console.log('SKIPPED: Chromium is not installed');
  process.exit();
}
const world = await startBrowser(path);
const edge = await Edge.start();
const context = await world.profile();
const page = await world.open(context, edge, { unit: 'ada', options: { gatherMs: 1_000, errors: true, latency: true, session: true } });

const isOfCollector = ({ args }) => /^v8\/src\/heap|cppgc/.test(args?.src_file ?? '');

/** Processor and wall time of each task of the page's main thread, in milliseconds. */
function tasks(trace, marker) {
  const { traceEvents } = JSON.parse(trace);
  const own = traceEvents.find(({ name, args }) => name === 'TimeStamp' && args?.data?.message === marker);
  const { pid, tid } = own;
  const ran = traceEvents.filter((event) => event.pid === pid && event.tid === tid && event.ph === 'X' && event.name === 'ThreadControllerImpl::RunTask');
  // The engine collects garbage in tasks of its own, in a page that does nothing too.
  const [collects, works] = [ran.filter(isOfCollector), ran.filter((event) => !isOfCollector(event))];
  const cpu = (events) => spread(events.map(({ tdur = 0 }) => tdur / 1_000));
  return { tasks: works.length, cpu_ms: cpu(works), wall_ms: spread(works.map(({ dur = 0 }) => dur / 1_000)), collector_cpu_ms: cpu(collects) };
}

const longest = {};
for (const [name, fault] of STATES) {
  edge.fault = fault;
  if (name === BACK) await page.evaluate(() => window.dispatchEvent(new Event('online')));
  await world.browser.startTracing(page, { categories: CATEGORIES });
  const took = await within('the page runs', page.evaluate(([marker, calls, tracks]) => new Promise((resolve) => {
    console.timeStamp(marker);
    const [track, flag] = [[], []];
    // One call a task, as pages do it.
    const timer = setInterval(() => {
      const began = performance.now();
      if (tracks) window.ff.track('conversion', { value: track.length });
      const between = performance.now();
      window.flag(`flag-0${track.length % 10}`);
      track.push(between - began);
      flag.push(performance.now() - between);
      if (track.length < calls) return;
      clearInterval(timer);
      resolve([track, flag]);
    }, 4);
  }), [name, CALLS, !name.startsWith(IDLE) && name !== BACK]), PATIENCE_MS);
  const trace = await within('the trace', world.browser.stopTracing());
  const told = tasks(trace.toString(), name);
  longest[name] = told.cpu_ms.max;
  console.log(JSON.stringify({
    edge: name, ...told, track_ms: spread(took[0]), evaluation_ms: spread(took[1]), waiting: await page.evaluate(() => window.ff.status().pending),
  }));
  // What waits while it hangs and is gone is what it finds when it is back.
  if (name.startsWith('answers') || name === 'is slow' || name === BACK) {
    edge.fault = () => undefined;
    await until('the queue is empty', () => page.evaluate(() => window.ff.flush().then(() => window.ff.status().pending === 0)));
  }
  if (name === 'hangs') edge.server.closeAllConnections();
}
// The shorter one of both, so that what happened beside it excuses nothing.
const idle = Math.min(longest[IDLE], longest[`${IDLE}, again`]);
const differences = Object.fromEntries(STATES.slice(1, -1).filter(([name]) => name !== IDLE).map(([name]) => [name, ms(longest[name] - idle)]));
const worst = Math.max(...Object.values(differences));
console.log(JSON.stringify({ verdict: worst <= BAR_MS ? 'within the bar' : 'beyond the bar', bar_ms: BAR_MS, longest_task_without_ms: idle, longer_by_ms: differences }));
await within('the browser ends', world.close());
edge.close();
