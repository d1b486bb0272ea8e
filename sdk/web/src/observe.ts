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

/** What tells an error that nobody caught from others; its words go nowhere else. */
export function whichError(event: ErrorEvent | PromiseRejectionEvent): string {
  if ('lineno' in event) return `${event.message}|${event.filename}|${event.lineno}|${event.colno}`;
  const { reason } = event as PromiseRejectionEvent;
  return reason instanceof Error || typeof reason === 'string' ? String(reason) : typeof reason;
}

/** The page's own load and what its scripts ask for. */
const isOfInterest = (entry: PerformanceEntry): boolean => entry.entryType === 'navigation'
  || ['fetch', 'xmlhttprequest'].includes((entry as PerformanceResourceTiming).initiatorType);

/**
 * Calls `hear` with the duration of the page's load and of the requests that `wanted` names, and the steady time when each was
 * over; without `wanted` those of `fetch` and `XMLHttpRequest`.
 */
export function onDurations(
  signal: AbortSignal,
  wanted: ((entry: PerformanceEntry) => boolean) | undefined,
  hear: (ms: number, end: number, what: string) => void,
): void {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.duration > 0 && (wanted ?? isOfInterest)(entry)) hear(entry.duration, entry.startTime + entry.duration, entry.name);
    }
  });
  observer.observe({ type: 'navigation', buffered: true });
  observer.observe({ type: 'resource' });
  signal.addEventListener('abort', () => observer.disconnect());
}
