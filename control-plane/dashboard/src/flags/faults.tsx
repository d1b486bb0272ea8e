// What is wrong with an edit, by field: what the server's dry run says, and what cannot even be read.
import { createContext, type ReactNode, useCallback, useContext, useEffect, useId, useMemo, useState } from 'react';

interface Faults {
  /** The server's sentences by JSON pointer. */
  server: ReadonlyMap<string, string>;
  /** Fields with a text that is none of their values; by a name of their own. */
  report: (name: string, why: string | null) => void;
}

const FaultsContext = createContext<Faults>({ server: new Map(), report: () => undefined });

export interface Unread { count: number; report: Faults['report'] }

/** Counts the fields that hold a text which cannot be taken over: while there is one, nothing can be published. */
export function useUnread(): Unread {
  const [held, setHeld] = useState<ReadonlyMap<string, string>>(new Map());
  const report = useCallback((name: string, why: string | null) => {
    setHeld((before) => {
      if ((before.get(name) ?? null) === why) return before;
      const next = new Map(before);
      if (why === null) next.delete(name);
      else next.set(name, why);
      return next;
    });
  }, []);
  return useMemo(() => ({ count: held.size, report }), [held, report]);
}

export function FaultsProvider({ server, unread, children }: { server: ReadonlyMap<string, string>; unread: Unread; children: ReactNode }) {
  const value = useMemo(() => ({ server, report: unread.report }), [server, unread.report]);
  return <FaultsContext value={value}>{children}</FaultsContext>;
}

/** The server's sentence at a field, or at anything below it. */
export function useFault(pointer: string): string | undefined {
  const { server } = useContext(FaultsContext);
  const exact = server.get(pointer);
  if (exact !== undefined) return exact;
  for (const [at, detail] of server) if (at.startsWith(`${pointer}/`)) return detail;
  return undefined;
}

/** Tells that a field cannot be read, for as long as it cannot. */
export function useReport(why: string | null): void {
  const { report } = useContext(FaultsContext);
  const name = useId();
  useEffect(() => {
    report(name, why);
    return () => report(name, null);
  }, [report, name, why]);
}
