// The feed of all tabs of a browser. A browser opens six connections to one address at most, so each tab cannot have one.
import { Feed, type FeedMessage } from './feed.ts';

export type FromTab = { kind: 'hello'; url: string } | { kind: 'here' } | { kind: 'restart' } | { kind: 'bye' };

/** Tabs say every 20 s that they are there; browsers slow timers of hidden ones down to once a minute. */
const GONE_MS = 180_000;

const tabs = new Map<MessagePort, number>();
let feed: Feed | null = null;

function tell(message: FeedMessage): void {
  const now = Date.now();
  for (const [port, seenMs] of tabs) {
    if (now - seenMs > GONE_MS) tabs.delete(port);
    else port.postMessage(message);
  }
  if (tabs.size === 0) {
    feed?.stop();
    feed = null;
  }
}

function heard(port: MessagePort, message: FromTab): void {
  if (message.kind === 'bye') {
    tabs.delete(port);
    tell({ kind: 'state', state: feed?.state ?? { status: 'connecting' } });
    return;
  }
  tabs.set(port, Date.now());
  if (message.kind === 'hello') {
    if (feed === null) {
      feed = new Feed(message.url, tell);
      feed.start();
    }
    port.postMessage({ kind: 'state', state: feed.state } satisfies FeedMessage);
  }
  if (message.kind === 'restart') feed?.restart();
}

// A shared worker's global has no type in the DOM's library.
addEventListener('connect', (event) => {
  const port = (event as MessageEvent).ports[0];
  if (port === undefined) return;
  port.onmessage = (message: MessageEvent<FromTab>) => heard(port, message.data);
  port.start();
});
