// The feed's state for the page: a context, what to do when it breaks and when it is back.
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from 'react';
import { useQueryClient } from '@tanstack/react-query';
import { applier } from './apply';
import type { FeedState } from './feed';
import { type SharedFeed, shareFeed } from './share';

/** While nothing tells, the page asks. */
const POLL_MS = 5_000;

interface Live {
  state: FeedState;
  restart: () => void;
}

const LiveContext = createContext<Live>({ state: { status: 'connecting' }, restart: () => undefined });

export const useLive = () => useContext(LiveContext);

/** `onSignedOut`: the feed was told that nobody is signed in. */
export function LiveProvider({ children, onSignedOut }: { children: ReactNode; onSignedOut: () => void }) {
  const queries = useQueryClient();
  const [state, setState] = useState<FeedState>({ status: 'connecting' });
  const shared = useRef<SharedFeed | null>(null);
  const signedOut = useRef(onSignedOut);
  useEffect(() => {
    signedOut.current = onSignedOut;
  }, [onSignedOut]);

  useEffect(() => {
    if (shared.current !== null) return;
    let was: FeedState['status'] = 'connecting';
    const apply = applier(queries);
    shared.current = shareFeed((message) => {
      if (message.kind === 'event') return apply(message.event);
      const { status } = message.state;
      // What happened meanwhile is known to nobody here.
      if (status === 'live' && was !== 'live' && was !== 'connecting') void queries.invalidateQueries();
      if (status === 'signed-out' && was !== 'signed-out') signedOut.current();
      was = status;
      setState(message.state);
    });
  }, [queries]);

  const polls = state.status === 'broken';
  useEffect(() => {
    if (!polls) return undefined;
    const timer = setInterval(() => void queries.invalidateQueries({ predicate: (query) => query.queryKey[0] !== 'whoami' }), POLL_MS);
    return () => clearInterval(timer);
  }, [polls, queries]);

  const live = useMemo(() => ({ state, restart: () => shared.current?.restart() }), [state]);
  return <LiveContext value={live}>{children}</LiveContext>;
}
