// Hears of a page's errors and how long its requests take. Says each at most so often, whatever the page does.

/** Time in which one error counts once, and so many of all: the fuse asks whether a unit met one within ten minutes. */
const STRETCH_MS = 600_000;
const COUNT_MAX = 10;

/** Lets through what is new, up to a number in each stretch of time. */
export class Sieve {
  readonly #seen = new Set<string>();
  #since = -Infinity;

  /** Whether this one goes through at that steady time. */
  passes(what: string, steady: number): boolean {
    if (steady - this.#since >= STRETCH_MS) {
      this.#since = steady;
      this.#seen.clear();
    }
    if (this.#seen.size >= COUNT_MAX || this.#seen.has(what)) return false;
    this.#seen.add(what);
    return true;
  }
}

/** Calls `hear` with what tells an error from others; its words go nowhere else. Gives a function that ends it. */
export function onErrors(hear: (what: string) => void): () => void {
  const ofError = (event: ErrorEvent) => hear(`${event.message}|${event.filename}|${event.lineno}|${event.colno}`);
  const ofRejection = ({ reason }: PromiseRejectionEvent) =>
    hear(reason instanceof Error ? `${reason.name}|${reason.message}` : typeof reason === 'string' ? reason : typeof reason);
  addEventListener('error', ofError);
  addEventListener('unhandledrejection', ofRejection);
  return () => {
    removeEventListener('error', ofError);
    removeEventListener('unhandledrejection', ofRejection);
  };
}

/** The page's own load and what its scripts ask for. */
const isOfInterest = (entry: PerformanceEntry): boolean => entry.entryType === 'navigation'
  || ['fetch', 'xmlhttprequest'].includes((entry as PerformanceResourceTiming).initiatorType);

/**
 * Calls `hear` with the duration of the page's load and of the requests that `wanted` names, and the steady time when each was
 * over; without `wanted` those of `fetch` and `XMLHttpRequest`. Gives a function that ends it.
 */
export function onDurations(
  wanted: ((entry: PerformanceEntry) => boolean) | undefined,
  hear: (ms: number, end: number, what: string) => void,
): () => void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.duration > 0 && (wanted ?? isOfInterest)(entry)) hear(entry.duration, entry.startTime + entry.duration, entry.name);
    }
  });
  observer.observe({ type: 'navigation', buffered: true });
  observer.observe({ type: 'resource' });
  return () => observer.disconnect();
}
