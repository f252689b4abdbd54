import type { IncomingMessage, ServerResponse } from 'node:http';
import helmet from 'helmet';

/** Puts names and values, in turn, into an answer that is not begun. */
export function setHeaders(response: ServerResponse, headers: readonly string[]): void {
  for (let i = 0; i + 1 < headers.length; i += 2) response.setHeader(headers[i] ?? '', headers[i + 1] ?? '');
}

/**
 * The headers that helmet sets for an API: nothing may be loaded, framed or sniffed. They never differ between
 * requests, so helmet is asked once and its answer is kept: paths that skip Express send the same ones.
 */
export function securityHeaders(): readonly (readonly [string, string])[] {
  const headers = new Map<string, string>();
  const response = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  };
  const apply = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { 'default-src': ["'none'"], 'frame-ancestors': ["'none'"] },
    },
    referrerPolicy: { policy: 'no-referrer' },
  });
  // helmet touches nothing of a response but its headers.
  apply({} as IncomingMessage, response as unknown as ServerResponse, () => {});
  return [...headers];
}
