import type { IncomingMessage } from 'node:http';
import { BrokerError } from '../errors.ts';
import { isCleanText } from '../platform/text.ts';

const maxBytes = 16_384;
const maxFields = 50;

/** The parameters of a form; an empty one counts as absent (RFC 6749 section 3.2). */
export type Form = ReadonlyMap<string, string>;

/**
 * Reads a request's `application/x-www-form-urlencoded` body: at most 16 kB. Throws `unsupported-media-type` or
 * `content-too-large`; the rest of a body that is too large is not read.
 */
export function readFormBody(request: IncomingMessage): Promise<string> {
  const type = request.headers['content-type'] ?? '';
  if (!/^application\/x-www-form-urlencoded *(;.*)?$/i.test(type)) {
    return Promise.reject(new BrokerError('unsupported-media-type'));
  }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBytes) chunks.push(chunk);
      else {
        request.pause();
        reject(new BrokerError('content-too-large'));
      }
    });
    request.once('end', () =>
      resolve(chunks.length === 1 ? String(chunks[0]) : Buffer.concat(chunks).toString()),
    );
    request.once('error', () =>
      reject(new BrokerError('invalid-request', { detail: 'the body was cut off' })),
    );
  });
}

/** Undoes form-encoding (RFC 6749 appendix B). Throws `URIError` for broken percent-encoding. */
export function decodeFormText(text: string): string {
  // Most values need no decoding, and this is the hot path.
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text;
  return spaced.includes('%') ? decodeURIComponent(spaced) : spaced;
}

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/**
 * Parses a form (WHATWG URL section 5.1, RFC 6749 appendix B). Throws `invalid-request` for more than 50 fields, a
 * repeated parameter (`invalid-target` if it is `resource`: RFC 8707 lets clients ask for several, we issue for one),
 * broken percent-encoding, and control characters or broken Unicode.
 */
export function parseForm(body: string): Form {
  const form = new Map<string, string>();
  const fields = body === '' ? [] : body.split('&');
  if (fields.length > maxFields) throw malformed(`more than ${maxFields} parameters`);
  for (const field of fields) {
    if (field === '') continue;
    const at = field.indexOf('=');
    let name: string;
    let value: string;
    try {
      name = decodeFormText(at === -1 ? field : field.slice(0, at));
      value = at === -1 ? '' : decodeFormText(field.slice(at + 1));
    } catch {
      throw malformed('the form is not valid percent-encoding');
    }
    if (!isCleanText(name) || !isCleanText(value)) throw malformed('a parameter has a control character');
    if (form.has(name)) throw repeated(name);
    form.set(name, value);
  }
  for (const [name, value] of form) if (value === '') form.delete(name);
  return form;
}

function repeated(name: string): BrokerError {
  return name === 'resource'
    ? new BrokerError('invalid-target', { detail: 'a token is for one resource: ask for each by itself' })
    : malformed('a parameter is repeated');
}
