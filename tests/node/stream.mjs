// Listens to a real edge in every way there is and prints what it heard as JSON. Compares nothing.
import { request } from 'node:http';

const { edges, key, controlPlane, adminToken, environmentPath, expiredToken } = JSON.parse(process.argv[2]);
const [edge, otherEdge] = edges;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const headersOf = (response) => Object.fromEntries(response.headers);

// Reads an event stream's lines with the time at which each arrived; ends with the stream or when `stop` is called.
async function listen(target, headers = {}) {
  const abort = new AbortController();
  const response = await fetch(`${edge}${target}`, { headers, signal: abort.signal });
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
  const messages = () => heard.lines.filter(({ line }) => line.startsWith('data: ')).length;
  const until = async (count) => {
    while (messages() < count && heard.ended_ms === null) await sleep(2);
  };
  return { heard, done, until, stop: () => abort.abort() };
}

// An upgrade that a client without a WebSocket library sees whole: its status and headers.
const upgrade = (target) => new Promise((resolve, reject) => {
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
});

async function put(value) {
  const flag = {
    key: 'told', value_type: 'integer', default_variation: 'a', variations: [{ key: 'a', value }],
  };
  const response = await fetch(`${controlPlane}${environmentPath}/flags/told`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(flag),
  });
  return (await response.json()).version;
}

async function bulk(at, query = '') {
  const response = await fetch(`${at}/ofrep/v1/evaluate/flags${query}`, {
    method: 'POST', headers: { authorization: `Bearer ${key}` }, body: '{"context":{"targetingKey":"u"}}',
  });
  return { status: response.status, headers: headersOf(response), body: await response.json() };
}

const seen = { bulks: [await bulk(edge), await bulk(otherEdge)] };
const uri = seen.bulks[0].body.eventStreams[0].endpoint.requestUri;
const withKey = `/v1/stream?key=${encodeURIComponent(key)}`;

// Those that take long go on beside all others.
const steady = await listen(uri);
const expired = await listen(`/v1/stream?token=${expiredToken}`);
await steady.until(1);

// Our own SDK's way: a WebSocket.
const socket = new WebSocket(`${edge.replace('http', 'ws')}${withKey}`);
seen.socket = { messages: [], closed: null };
socket.onmessage = ({ data }) => seen.socket.messages.push(data);
const closed = new Promise((resolve) => {
  socket.onclose = ({ code }) => resolve((seen.socket.closed = code));
});
await new Promise((resolve) => { socket.onopen = resolve; });
socket.send('ping');

// One change, told at once; who asks any isolate for what it was told gets it.
seen.single = { version: await put(1) };
await steady.until(2);
seen.single.asked = await bulk(otherEdge, `?flagConfigEtag=${seen.single.version}&flagConfigLastModified=1`);
// A burst, a second later: its beginning is told at once, the rest in one message.
await sleep(1_100);
seen.burst = [];
for (let value = 2; value < 12; value += 1) seen.burst.push(await put(value));
await steady.until(4);
seen.unknown = await bulk(edge, '?flagConfigEtag=nonsense');
seen.ahead = await bulk(edge, '?flagConfigEtag=1.999999');

while (seen.socket.messages.length < 5) await sleep(5);
socket.send('a listener that talks');
await closed;

seen.refused = {};
for (const [name, target] of Object.entries({
  forged: `${uri.slice(0, -1)}${uri.endsWith('0') ? '1' : '0'}`, nonsense: '/v1/stream?token=x', nothing: '/v1/stream',
  wrong_key: '/v1/stream?key=demo%3Aproduction.wrong',
})) {
  const response = await fetch(`${edge}${target}`, { headers: { origin: 'https://x.example' } });
  seen.refused[name] = { status: response.status, headers: headersOf(response), body: await response.json() };
}
const preflight = await fetch(`${edge}${uri}`, { method: 'OPTIONS' });
seen.preflight = { status: preflight.status, headers: headersOf(preflight) };
seen.upgrades = { expired: await upgrade(`/v1/stream?token=${expiredToken}`), token: await upgrade(uri) };

// Until the first heartbeat, and until the expired one ends.
await expired.done;
while (!steady.heard.lines.some(({ line }) => line === ':')) await sleep(50);
steady.stop();
const told = expired.heard.lines.findLast(({ line }) => line.startsWith('id: ')).line.slice(4);
const again = await listen(`/v1/stream?token=${expiredToken}`, { 'last-event-id': told });
await again.done;
Object.assign(seen, { steady: steady.heard, expired: expired.heard, again: again.heard });

// As many as there is room for, and one more of each kind.
const streams = [];
do streams.push(await listen(uri)); while (await streams.at(-1).until(1), streams.at(-1).heard.ended_ms === null && streams.length < 100);
seen.full = {
  found_room: streams.length - 1, turned_away: streams.at(-1).heard, upgrade: await upgrade(uri),
};
for (const stream of streams) stream.stop();
// Their places are free again once the next heartbeat finds nobody.
const began = Date.now();
let late;
do {
  await sleep(500);
  late = await upgrade(uri);
} while (late.status !== 101 && Date.now() - began < 60_000);
const health = async () => (await fetch(`${edge}/healthz`)).json();
while ((await health()).streams > 0 && Date.now() - began < 60_000) await sleep(500);
seen.freed = { upgrade: late.status, streams: (await health()).streams, after_ms: Date.now() - began };

console.log(JSON.stringify(seen));
process.exit();
