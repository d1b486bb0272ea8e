// Where this page is served: `/`, or the path below which a proxy shows the control plane.

/** Begins and ends with `/`. */
export function basePath(): string {
  return meta('flagfuse-base') ?? '/';
}

/** The nonce that styles need under this page's policy. */
export function styleNonce(): string {
  return meta('flagfuse-nonce') ?? '';
}

function meta(name: string): string | null {
  if (typeof document === 'undefined') return null;
  const content = document.querySelector(`meta[name="${name}"]`)?.getAttribute('content');
  // Unrendered, in development.
  return content === undefined || content === null || content.startsWith('{{') ? null : content;
}
