// The client of the change feed against a server that breaks in every way one can.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { mock, test } from 'node:test';
import { EventReader } from '../src/live/events.ts';
import { Feed, SILENCE_MS } from '../src/live/feed.ts';
import { applier, concerns } from '../src/live/apply.ts';

/** A line is never taken for silent where a busy machine alone was. */
const TIMES = { silenceMs: 60_000, retryMs: 50, watchMs: 25 };
const LIMIT_MS = 60_000;

/** Waits until `check` holds; says what it waited for where it does not come to that. */
async function until(what, check, seen = () => '') {
  const end = Date.now() + LIMIT_MS;
  while (!check()) {
    if (Date.now() > end) throw new Error(`not within ${LIMIT_MS} ms: ${what}; seen: ${JSON.stringify(seen())}`);
    await new Promise((next) => setTimeout(next, 5));
  }
}

/** A server whose answer is `serve(request, response)`, and a feed of it with all that it told. */
async function world(serve, times = TIMES) {
  const requests = [];
  const open = new Set();
  const server = createServer((request, response) => {
    requests.push({ lastId: request.headers['last-event-id'] ?? null });
    open.add(response);
    world.serve(request, response, requests.length);
  });
  const world = { serve, requests, states: [], events: [] };
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const url = `http://127.0.0.1:${server.address().port}/v1/feed`;
  world.feed = new Feed(url, (message) => (message.kind === 'state' ? world.states.push(message.state) : world.events.push(message.event)), times);
  world.end = () => {
    world.feed.stop();
    server.closeAllConnections();
    server.close();
  };
  world.feed.start();
  return world;
}

const begin = (response) => response.writeHead(200, { 'content-type': 'text/event-stream' });
const change = (id) => `id: ${id}\nevent: change\ndata: {"project":"demo","environment":"production","version":"1.${id}"}\n\n`;

test('events arrive whole however they are cut, and comments are none', () => {
  const text = `: hello\n\n${change(1)}${change(2)}event: alarm\ndata: {"a":\ndata: 1}\n\nevent: odd\ndata: not json\n\n`;
  const whole = new EventReader().push(text);
  assert.deepEqual(whole.map(({ type }) => type), ['change', 'change', 'alarm', 'odd']);
  assert.deepEqual(whole[2].data, { a: 1 });
  assert.equal(whole[3].data, null);
  for (let cut = 1; cut < text.length; cut += 1) {
    const reader = new EventReader();
    assert.deepEqual([...reader.push(text.slice(0, cut)), ...reader.push(text.slice(cut))], whole, `cut at ${cut}`);
  }
});

test('heartbeats keep it live, and silence ends that in time and says since when', async () => {
  // With a clock of its own, so that no busy machine is mistaken for a silent line.
  mock.timers.enable({ apis: ['Date', 'setInterval', 'setTimeout'], now: 1_700_000_000_000 });
  const asked = mock.method(globalThis, 'fetch', async () => new Response(new ReadableStream({ start: (line) => void (w.line = line) })));
  const w = { line: null, events: [] };
  const read = () => new Promise((next) => setImmediate(next));
  const say = async (text) => {
    w.line.enqueue(new TextEncoder().encode(text));
    for (let turn = 0; turn < 5; turn += 1) await read();
  };
  const feed = new Feed('http://plane/v1/feed', (message) => message.kind === 'event' && w.events.push(message.event));
  try {
    feed.start();
    await read();
    await say(change(1));
    assert.equal(w.events.length, 1);
    for (let beat = 0; beat < 4; beat += 1) {
      mock.timers.tick(15_000);
      assert.equal(feed.state.status, 'live', 'heartbeats alone');
      await say(': beat\n\n');
    }
    const heardMs = Date.now();
    mock.timers.tick(SILENCE_MS);
    assert.equal(feed.state.status, 'live', 'not silent for longer than allowed');
    mock.timers.tick(1_000);
    assert.deepEqual(feed.state, { status: 'broken', sinceMs: heardMs }, 'since it was heard last, not since that was noticed');
    assert.equal(asked.mock.callCount(), 1);
  } finally {
    feed.stop();
    mock.reset();
  }
});

test('a line that breaks is taken up behind the last event, as often as it takes', async () => {
  const w = await world((request, response, count) => {
    if (count === 2) return void request.socket.destroy();
    if (count === 3) return void response.writeHead(503).end();
    begin(response).write(change(count));
    if (count === 1) setTimeout(() => response.end(), 30);
    return undefined;
  });
  try {
    await until('live again', () => w.events.length === 2, () => w.states);
    assert.deepEqual(w.requests.map(({ lastId }) => lastId), [null, '1', '1', '1']);
    assert.deepEqual(w.events.map(({ id }) => id), ['1', '4']);
    const words = w.states.map(({ status }) => status).filter((status, at, all) => status !== all[at - 1]);
    assert.deepEqual(words, ['live', 'broken', 'live']);
  } finally {
    w.end();
  }
});

test('who is signed out is told so and asks no more until somebody is', async () => {
  let status = 401;
  const w = await world((_, response) => {
    if (status === 401) response.writeHead(401).end();
    else begin(response).write(change(7));
  });
  try {
    await until('signed out', () => w.feed.state.status === 'signed-out');
    await new Promise((next) => setTimeout(next, TIMES.retryMs * 4));
    assert.equal(w.requests.length, 1);
    status = 200;
    w.feed.restart();
    await until('live', () => w.feed.state.status === 'live');
    assert.equal(w.requests[1].lastId, null, 'what another session has seen is not continued');
  } finally {
    w.end();
  }
});

test('a server that takes the connection and says nothing is not live', async () => {
  const w = await world(() => undefined, { ...TIMES, silenceMs: 400 });
  try {
    await until('broken', () => w.feed.state.status === 'broken');
  } finally {
    w.end();
  }
});

test('an event makes stale what it may have changed, and nothing of another place', () => {
  const event = (type, data) => ({ id: '1', type, data: { project: 'demo', environment: 'production', ...data } });
  const rows = [
    ['change', ['flags', 'demo', 'production'], true],
    ['change', ['flags', 'demo', 'staging'], false],
    ['change', ['audit', 'demo', 'production', {}], true],
    ['change', ['whoami'], false],
    ['receipt', ['propagation', 'demo', 'production'], true],
    ['receipt', ['flags', 'demo', 'production'], false],
    ['verdict', ['fuse', 'demo', 'production', 'x'], true],
    ['verdict', ['audit', 'demo', 'production', {}], false],
    ['transition', ['flags', 'demo', 'production'], true],
    ['alarm', ['slos', 'demo', 'production'], true],
    ['alarm', ['flags', 'demo', 'production'], false],
    ['heartbeat', ['flags', 'demo', 'production'], false],
    ['hello', ['slos', 'demo', 'production'], false],
  ];
  for (const [type, key, expected] of rows) assert.equal(concerns(event(type), key), expected, `${type} ${key}`);
  assert.equal(concerns(event('reset', { project: undefined, environment: undefined }), ['whoami']), true);
  const change = (action) => event('change', { project: null, environment: null, action });
  for (const [action, resource, expected] of [
    ['member.roles', 'whoami', true], ['member.roles', 'members', true], ['token.revoke', 'members', true], ['token.revoke', 'whoami', false],
    ['project.create', 'projects', true], ['flag.details', 'projects', false], ['flag.details', 'whoami', false], ['flag.details', 'flags', true],
  ]) assert.equal(concerns(change(action), [resource]), expected, `${action} ${resource}`);
  const created = event('change', { action: 'environment.create', environment: 'staging' });
  assert.equal(concerns(created, ['environments', 'demo']), true, 'a new environment is listed');
});

test('a burst is asked about once, one that lasts ever more seldom, and a transition in its midst at once', () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  try {
    const asked = [];
    const apply = applier({ invalidateQueries: () => asked.push(Date.now()) });
    const tell = (type) => apply({ id: '1', type, data: { project: 'demo', environment: 'production' } });
    for (let n = 0; n < 3; n += 1) tell('change');
    mock.timers.tick(5);
    assert.deepEqual(asked, [5]);
    mock.timers.tick(1_000);
    assert.deepEqual(asked, [5], 'nothing came behind them');
    const began = Date.now();
    // Twenty a second, for a minute.
    for (let n = 0; n < 1_200; n += 1) {
      tell('change');
      mock.timers.tick(50);
    }
    const lasting = asked.filter((at) => at > began);
    assert.ok(lasting.length <= 36, `asked ${lasting.length} times in a minute`);
    assert.ok(lasting.slice(1).every((at, n) => at - lasting[n] <= 2_000), 'nothing is older than two seconds');
    mock.timers.tick(400);
    const before = asked.length;
    tell('transition');
    mock.timers.tick(120);
    assert.equal(asked.length, before + 1, 'a transition does not wait for the others');
    mock.timers.tick(10_000);
    const last = asked.length;
    tell('change');
    mock.timers.tick(5);
    assert.equal(asked.length, last + 1, 'after a pause the first is asked about at once again');
  } finally {
    mock.timers.reset();
  }
});
