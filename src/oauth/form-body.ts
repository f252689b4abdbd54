import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { BrokerError } from '../errors.ts';
import { headerValues } from '../http/header-values.ts';

const maxBytes = 16_384;

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-request', { detail });
}

/**
 * Reads the form body of a request (RFC 6749 appendix B): at most 16 kB of UTF-8. Throws or rejects with `invalid-request`
 * for a query, several content types, or bytes that are not UTF-8; `unsupported-media-type` for another content type,
 * character set or content encoding; `content-too-large`, without reading the rest of the body.
 */
export function readFormBody(request: IncomingMessage): Promise<string> {
  refuseQuery(request);
  assertFormType(request);
  refuseContentEncoding(request);
  return readUtf8(request);
}

/** Parameters that are credentials, or stand for one. */
const credentialParameters: ReadonlySet<string> = new Set([
  'access_token',
  'actor_token',
  'api_key',
  'assertion',
  'client_assertion',
  'client_secret',
  'code',
  'dpop',
  'id_token',
  'password',
  'refresh_token',
  'subject_token',
  'token',
]);

/** Refuses a query: URLs end up in logs and histories, and the parameters of these requests are in the body. */
function refuseQuery({ url = '' }: IncomingMessage): void {
  const at = url.indexOf('?');
  if (at === -1 || at === url.length - 1) return;
  const names = [...new URLSearchParams(url.slice(at + 1)).keys()];
  throw malformed(
    names.some((name) => credentialParameters.has(name.toLowerCase()))
      ? 'credentials must not be in a URL, which logs keep: send them in the body, and replace the exposed one'
      : 'the URL must have no query: send the parameters in the body',
  );
}

/** Refuses all but one content type, which must be that of a form in UTF-8. */
function assertFormType(request: IncomingMessage): void {
  // Of several Content-Type headers, Node keeps the first and drops the others.
  const [type = '', ...more] = headerValues(request, 'content-type');
  if (more.length > 0) throw malformed('several Content-Type headers');
  if (type === 'application/x-www-form-urlencoded') return;
  const [name = '', ...parameters] = type.split(';');
  if (name.trim().toLowerCase() !== 'application/x-www-form-urlencoded' || !parameters.every(isUtf8OrOther)) {
    throw new BrokerError('unsupported-media-type');
  }
}

/** Whether a parameter of the content type names UTF-8, or is not about the character set. */
function isUtf8OrOther(parameter: string): boolean {
  const [name = '', value = ''] = parameter.split('=');
  if (name.trim().toLowerCase() !== 'charset') return true;
  return /^(?:utf-8|"utf-8")$/i.test(value.trim());
}

function refuseContentEncoding({ headers }: IncomingMessage): void {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new BrokerError('unsupported-media-type', { detail: 'the body must not be encoded' });
  }
}

function readUtf8(request: IncomingMessage): Promise<string> {
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
    request.once('end', () => {
      const [first] = chunks;
      const body = first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks);
      // Decoding would replace invalid bytes silently.
      if (isUtf8(body)) resolve(body.toString());
      else reject(malformed('the body is not UTF-8'));
    });
    request.once('error', () => reject(malformed('the connection ended before the end of the body')));
  });
}
