// Who is signed in, and what they may do where. Screens ask `can` and leave out what would be refused.
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from 'react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { takeCode } from '../frame/code';
import { onSessionLost, type Place, type Problem, type Schemas, whoami } from '../api';

export type Right = Schemas['Right'];
export type WhoAmI = Schemas['WhoAmI'];

interface Session {
  /** Null until known, and while nobody is signed in. */
  who: WhoAmI | null;
  /** Whether somebody has to sign in before anything can be asked. */
  isLost: boolean;
  /** Why it is not known who is signed in, where that is not because nobody is. */
  problem: Problem | null;
  /** Code of the link that was opened; null once it has signed somebody in. It goes first, even where somebody is signed in. */
  code: string | null;
  /** To be called once a session is there. */
  signedIn: (hasPassword: boolean) => void;
  /** Whether somebody came by a link and has no password. */
  needsPassword: boolean;
  settlePassword: () => void;
  lose: () => void;
}

const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error('useSession stands outside of SessionProvider');
  return session;
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const queries = useQueryClient();
  const [isLost, setLost] = useState(false);
  const [code, setCode] = useState(takeCode);
  const { data, error } = useQuery({ ...whoami(), enabled: !isLost && code === null, retry: false, refetchInterval: (query) => (query.state.status === 'error' ? 3_000 : false) });
  const lose = useCallback(() => setLost(true), []);
  useEffect(() => onSessionLost(lose), [lose]);
  const [needsPassword, setNeedsPassword] = useState(false);
  const settlePassword = useCallback(() => setNeedsPassword(false), []);
  const signedIn = useCallback((hasPassword: boolean) => {
    setNeedsPassword(!hasPassword);
    setLost(false);
    setCode(null);
    void queries.invalidateQueries();
  }, [queries]);
  const session = useMemo<Session>(
    () => ({ who: data ?? null, isLost, code, problem: isLost ? null : (error as Problem | null), signedIn, needsPassword, settlePassword, lose }),
    [data, isLost, code, error, signedIn, needsPassword, settlePassword, lose],
  );
  return <SessionContext value={session}>{children}</SessionContext>;
}

/** Whether `who` has a right in a place; without a place, in the whole tenant. */
export function mayIn(who: WhoAmI | null, right: Right, project?: string, environment?: string): boolean {
  return (who?.rights ?? []).some((in_) => {
    if (!in_.rights.includes(right)) return false;
    if (in_.project === null) return true;
    return in_.project === project && (in_.environment === null || in_.environment === environment);
  });
}

/** Whether the caller may change what is served in a place. */
export const useMayEdit = (place: Pick<Place, 'project'> & Partial<Place>) => mayIn(useSession().who, 'edit', place.project, place.environment);

/** Whether the caller has a right in a place; without a place, in the whole tenant. */
export function useCan(): (right: Right, project?: string, environment?: string) => boolean {
  const { who } = useSession();
  return useCallback((right, project, environment) => mayIn(who, right, project, environment), [who]);
}
