// The code of a sign-in link. It stands behind `#`, which browsers send to nobody, and leaves the address at once.

/** The code in the address, taken out of it; null where there is none. */
export function takeCode(): string | null {
  const code = /^#login=(.+)$/.exec(window.location.hash)?.[1] ?? null;
  if (code !== null) window.history.replaceState(null, '', window.location.pathname + window.location.search);
  return code === null ? null : decoded(code);
}

/** What somebody pasted: a code, or the link that it stands in. */
export function codeIn(text: string): string {
  return decoded(/#login=(.+)$/.exec(text.trim())?.[1] ?? text.trim());
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
