// Waiting with an end: whatever a script waits for has a name and a bound, and both stand in the error.
export const PATIENCE_MS = 120_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const late = (what, limitMs, seen) => new Error(
  `${what}: not within ${limitMs / 1_000} s${seen === undefined ? '' : `; seen until then: ${JSON.stringify(seen)}`}`,
);

// Looks again and again until `probe` gives something true; `seen`, when given, tells what there was instead.
export async function until(what, probe, { limitMs = PATIENCE_MS, pauseMs = 5, seen = () => undefined } = {}) {
  const began = Date.now();
  for (;;) {
    const found = await within(what, probe(), limitMs);
    if (found) return found;
    if (Date.now() - began > limitMs) throw late(what, limitMs, seen());
    await sleep(pauseMs);
  }
}

// A promise that is kept in time or broken.
export async function within(what, promise, limitMs = PATIENCE_MS) {
  let timer;
  const bound = new Promise((_, reject) => {
    timer = setTimeout(() => reject(late(what, limitMs)), limitMs);
  });
  try {
    return await Promise.race([promise, bound]);
  } finally {
    clearTimeout(timer);
  }
}
