// How a tab gets the feed: from the shared worker; where there is none, from the tab that holds a lock and reads for all.
import { basePath } from '../api';
import { Feed, type FeedListener, type FeedMessage } from './feed';
import type { FromTab } from './worker';

export interface SharedFeed {
  /** After somebody has signed in. */
  restart: () => void;
}

const HERE_MS = 20_000;
const LOCK = 'flagfuse-feed';

export function shareFeed(listener: FeedListener): SharedFeed {
  const url = new URL(`${basePath()}v1/feed`, window.location.href).href;
  if (typeof SharedWorker !== 'undefined') return throughWorker(url, listener);
  return throughTab(url, listener);
}

function throughWorker(url: string, listener: FeedListener): SharedFeed {
  const worker = new SharedWorker(new URL('./worker.ts', import.meta.url), { type: 'module', name: LOCK });
  const send = (message: FromTab) => worker.port.postMessage(message);
  worker.port.onmessage = (message: MessageEvent<FeedMessage>) => listener(message.data);
  worker.port.start();
  send({ kind: 'hello', url });
  setInterval(() => send({ kind: 'here' }), HERE_MS);
  window.addEventListener('pagehide', () => send({ kind: 'bye' }));
  // From the back-forward cache: what happened meanwhile was told to others.
  window.addEventListener('pageshow', (event) => {
    if (!event.persisted) return;
    listener({ kind: 'state', state: { status: 'broken', sinceMs: Date.now() } });
    send({ kind: 'hello', url });
  });
  return { restart: () => send({ kind: 'restart' }) };
}

function throughTab(url: string, listener: FeedListener): SharedFeed {
  const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(LOCK);
  let own: Feed | null = null;
  let wasTold = false;
  const read = () => {
    // Between the last tab and this one nobody has read.
    if (wasTold) listener({ kind: 'state', state: { status: 'broken', sinceMs: Date.now() } });
    own = new Feed(url, (message) => {
      listener(message);
      channel?.postMessage(message);
    });
    own.start();
    // Held as long as the tab is there; then another one gets it.
    return new Promise<never>(() => undefined);
  };
  channel?.addEventListener('message', (message: MessageEvent<FeedMessage | FromTab>) => {
    if (message.data.kind === 'state' || message.data.kind === 'event') {
      wasTold = true;
      listener(message.data);
    } else if (own !== null && message.data.kind === 'hello') channel.postMessage({ kind: 'state', state: own.state });
    else if (message.data.kind === 'restart') own?.restart();
  });
  channel?.postMessage({ kind: 'hello', url } satisfies FromTab);
  if (channel !== null && typeof navigator.locks !== 'undefined') void navigator.locks.request(LOCK, read);
  else void read();
  return {
    restart: () => {
      own?.restart();
      channel?.postMessage({ kind: 'restart' } satisfies FromTab);
    },
  };
}
