import type { IncomingMessage, ServerResponse } from 'node:http';
import helmet from 'helmet';

/** For public documents that scripts of any origin may read (Fetch Standard, CORS protocol). */
export const anyOrigin = { 'Access-Control-Allow-Origin': '*' };

/** Sets headers, given as alternating names and values, before the response is started. */
export function setHeaders(response: ServerResponse, headers: readonly string[]): void {
  for (let i = 0; i + 1 < headers.length; i += 2) response.setHeader(headers[i] ?? '', headers[i + 1] ?? '');
}

/**
 * Returns the headers that helmet sets for an API: a browser must load nothing from a response, show it in no frame and not guess
 * its type. They are the same for every response, so helmet runs only once, and the paths that bypass Express send them, too.
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
  // helmet uses only the header methods of the response.
  apply({} as IncomingMessage, response as unknown as ServerResponse, () => {});
  return [...headers];
}
