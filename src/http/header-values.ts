import type { IncomingMessage } from 'node:http';

/**
 * Returns every value of a header, in order. Node silently drops all but the first `Authorization` header; its
 * `headersDistinct` keeps them, but converts all headers of every request.
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
