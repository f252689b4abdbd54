import type { IncomingMessage } from 'node:http';

/**
 * Every value of a header, in order. Node keeps the first of several `Authorization` headers silently; its
 * `headersDistinct` tells, but sorts all headers for that, with every request.
 */
export function headerValues(request: IncomingMessage, name: string): string[] {
  const { rawHeaders } = request;
  const values: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const candidate = rawHeaders[i] ?? '';
    if (candidate.length === name.length && candidate.toLowerCase() === name)
      values.push(rawHeaders[i + 1] ?? '');
  }
  return values;
}
