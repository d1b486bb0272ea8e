// Listens to a real edge in every way there is and prints what it heard as JSON. Compares nothing.
import { request } from 'node:http';
import { sleep, until, within } from './bounded.mjs';

const { edges, key, controlPlane, adminToken, environmentPath, expiredToken } = JSON.parse(process.argv[2]);
const [edge, otherEdge] = edges;
const headersOf = (response) => Object.fromEntries(response.headers);

// Reads an event stream's lines with the time at which each arrived; ends with the stream or when `stop` is called.
async function listen(target, headers = {}) {
  const abort = new AbortController();
  const opened = fetch(`${edge}${target}`, { headers, signal: abort.signal });
  const response = await within(`${target} is answered`, opened);
  const heard = { status: response.status, headers: headersOf(response), lines: [], ended_ms: null };
  const began = Date.now();
  const done = (async () => {
    let rest = '';
    const decoder = new TextDecoder();
    try {
      for await (const chunk of response.body ?? []) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
        rest = lines.pop();
        for (const line of lines) if (line !== '') heard.lines.push({ line, at_ms: Date.now() - began });
      }
      heard.ended_ms = Date.now() - began;
    } catch (error) {
      if (error.name !== 'AbortError') throw error;
    }
  })();
  const messages = () => heard.lines.filter(({ line }) => line.startsWith('data: '));
  const seen = () => heard;
  return {
    heard,
    ended: () => within(`the stream ${target} ends`, done),
    // Something was said, or the stream is over without a word.
    spoke: () => until('a stream says hello', () => messages().length > 0 || heard.ended_ms !== null, { pauseMs: 2, seen }),
    told: (version) => until(
      `the stream tells ${version}`, () => messages().some(({ line }) => line.includes(`"etag":"${version}"`)), { pauseMs: 2, seen },
    ),
    beats: () => until('a heartbeat', () => heard.lines.some(({ line }) => line === ':'), { pauseMs: 50, seen }),
    stop: () => abort.abort(),
  };
}

// An upgrade that a client without a WebSocket library sees whole: its status and headers.
const upgrade = (target) => within(`the upgrade of ${target} is answered`, new Promise((resolve, reject) => {
  const headers = {
    connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  request(`${edge}${target}`, { headers })
    .on('response', (response) => resolve({ status: response.statusCode, headers: response.headers }))
    .on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode, headers: response.headers });
    })
    .on('error', reject)
    .end();
}));

// A whole answer.
async function fetched(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  return { status: response.status, headers: headersOf(response), body: text === '' ? undefined : JSON.parse(text) };
}

async function put(value) {
  const flag = {
    key: 'told', value_type: 'integer', default_variation: 'a', variations: [{ key: 'a', value }],
  };
  const answer = await within('a change is answered', fetched(`${controlPlane}${environmentPath}/flags/told`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(flag),
  }));
  return answer.body.version;
}

async function bulk(at, query = '') {
  return within('a bulk is answered', fetched(`${at}/ofrep/v1/evaluate/flags${query}`, {
    method: 'POST', headers: { authorization: `Bearer ${key}` }, body: '{"context":{"targetingKey":"u"}}',
  }));
}

// Asks until the answer is one of those that count; the last one is in the error.
async function settled(what, ask, counts) {
  let answer;
  await until(what, async () => {
    answer = await ask();
    return counts(answer);
  }, { seen: () => answer });
  return answer;
}

// Asks until a replica answers that is vouched for: on a busy machine a beat may come late, and validators and what is said
// of unknown keys depend on it.
const vouched = (what, ask) => settled(
  what, ask, ({ status, headers }) => status !== 503 && !headers['x-flags-state']?.startsWith('stale'),
);

const bulks = [edge, otherEdge].map((at) => vouched('all flags', () => bulk(at)));
const seen = { bulks: await Promise.all(bulks) };
const uri = seen.bulks[0].body.eventStreams[0].endpoint.requestUri;
const withKey = `/v1/stream?key=${encodeURIComponent(key)}`;

// It takes long and goes on beside all others.
const steady = await listen(uri);
await steady.spoke();

// Our own SDK's way: a WebSocket.
const socket = new WebSocket(`${edge.replace('http', 'ws')}${withKey}`);
seen.socket = { messages: [], closed: null };
socket.onmessage = ({ data }) => seen.socket.messages.push(data);
const closed = new Promise((resolve) => {
  socket.onclose = ({ code }) => resolve((seen.socket.closed = code));
});
const hears = (what, isIt) => until(
  `the socket hears ${what}`, () => seen.socket.messages.some(isIt), { seen: () => seen.socket },
);
const opened = new Promise((resolve, reject) => {
  socket.onopen = resolve;
  socket.onerror = ({ message }) => reject(new Error(`the socket: ${message}`));
});
await within('the socket opens', opened);
socket.send('ping');
await hears('hello', (message) => message !== 'pong');
await hears('an answer to its ping', (message) => message === 'pong');

// It ends after 20 s: here, so that the changes come before that.
const expired = await listen(`/v1/stream?token=${expiredToken}`);
await expired.spoke();
// One change, told at once; who asks any isolate for what it was told gets it.
seen.single = { version: await put(1) };
await steady.told(seen.single.version);
const toldQuery = `?flagConfigEtag=${seen.single.version}&flagConfigLastModified=1`;
seen.single.asked = await settled('what was told', () => bulk(otherEdge, toldQuery), ({ status }) => status !== 503);
// A burst, a second later: its beginning is told at once, the rest in one message.
await sleep(1_100);
const bursts = Date.now();
seen.burst = [];
for (let value = 2; value < 12; value += 1) seen.burst.push(await put(value));
await steady.told(seen.burst.at(-1));
seen.burst_ms = Date.now() - bursts;
// Where the replica does not answer in time, what is in memory is answered.
seen.unknown = await settled(
  'the newest version', () => bulk(edge, '?flagConfigEtag=nonsense'), ({ body }) => body.metadata.version === seen.burst.at(-1),
);
seen.ahead = await settled(
  'a version that is not here', () => bulk(edge, '?flagConfigEtag=1.999999'), ({ body }) => body.code !== 'replica_unavailable',
);

await hears('the end of the burst', (message) => message.includes(`"etag":"${seen.burst.at(-1)}"`));
socket.send('a listener that talks');
await within('the socket that talked is closed', closed);

seen.refused = {};
for (const [name, target] of Object.entries({
  forged: `${uri.slice(0, -1)}${uri.endsWith('0') ? '1' : '0'}`, nonsense: '/v1/stream?token=x', nothing: '/v1/stream',
  wrong_key: '/v1/stream?key=demo%3Aproduction.wrong',
})) {
  const ask = () => fetched(`${edge}${target}`, { headers: { origin: 'https://x.example' } });
  seen.refused[name] = await vouched(`${name} is refused`, ask);
}
seen.preflight = await within('a preflight is answered', fetched(`${edge}${uri}`, { method: 'OPTIONS' }));
seen.upgrades = { expired: await upgrade(`/v1/stream?token=${expiredToken}`), token: await upgrade(uri) };

// Until the first heartbeat, and until the expired one ends.
await expired.ended();
await steady.beats();
steady.stop();
const told = expired.heard.lines.findLast(({ line }) => line.startsWith('id: ')).line.slice(4);
const again = await listen(`/v1/stream?token=${expiredToken}`, { 'last-event-id': told });
await again.ended();
Object.assign(seen, { steady: steady.heard, expired: expired.heard, again: again.heard });

let last;
const seenLast = { pauseMs: 500, seen: () => last };
// A place is free again once the next heartbeat finds nobody.
const silence = () => until('no stream is counted any more', async () => {
  last = await fetched(`${edge}/healthz`);
  return last.body.streams === 0;
}, seenLast);
await silence();

// As many as there is room for, and one more of each kind. Who is turned away is told so in its first line. The notifier
// hears of an end a moment after the isolate, so a place may still come free after a stream was turned away.
const streams = [];
const turnedAway = ({ heard }) => /^retry: [6-9]\d{4}$/.test(heard.lines[0]?.line);
do {
  do {
    streams.push(await listen(uri));
    await streams.at(-1).spoke();
  } while (!turnedAway(streams.at(-1)) && streams.length < 100);
  last = await upgrade(uri);
} while (last.status === 101 && streams.length < 100);
await streams.at(-1).ended();
seen.full = {
  found_room: streams.filter((stream) => !turnedAway(stream)).length, turned_away: streams.at(-1).heard, upgrade: last,
};
for (const stream of streams) stream.stop();
const began = Date.now();
await until('a place is free again', async () => {
  last = await upgrade(uri);
  return last.status === 101;
}, seenLast);
await silence();
seen.freed = { after_ms: Date.now() - began };

console.log(JSON.stringify(seen));
process.exit();
