import { isUtf8 } from 'node:buffer';
import { BrokerError } from '../errors.ts';
import { isCleanText } from '../platform/text.ts';

const maxDepth = 32;

/** The fields that may contain line breaks: Cedar policies, texts that people write, and certificates (PEM). */
const multilineFields: ReadonlySet<string> = new Set(['cedar', 'reason', 'note', 'ca']);
/** Throws `invalid-request` unless `isCleanText` accepts the string. `where` names its part of the request. */
export function assertCleanText(text: string, where: string): void {
  if (!isCleanText(text)) refuseText(where);
}

/**
 * Throws `invalid-request` unless the body is UTF-8 (RFC 8259 section 8.1): decoding would silently insert
 * replacement characters.
 */
export function assertUtf8(body: Buffer, charset: string): void {
  if (charset !== 'utf-8' || !isUtf8(body))
    throw new BrokerError('invalid-request', { detail: 'the body is not UTF-8' });
}

/**
 * Throws `invalid-request` for a JSON value that is nested deeper than 32 levels, or contains an infinite number, or
 * a key or string that `isCleanText` rejects.
 */
export function assertCleanJson(body: unknown): void {
  const pending: { value: unknown; depth: number; field: string }[] = [
    { value: body, depth: 0, field: 'body' },
  ];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, depth, field } = next;
    if (typeof value === 'string' && !isCleanText(value, multilineFields.has(field))) refuseText(field);
    // `1e400` is parsed as Infinity and would be serialized as null.
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new BrokerError('invalid-request', { detail: `${field} has a number that is out of range` });
    }
    if (typeof value !== 'object' || value === null) continue;
    if (depth >= maxDepth) {
      throw new BrokerError('invalid-request', {
        detail: `the body is nested deeper than ${maxDepth} levels`,
      });
    }
    for (const [key, item] of Object.entries(value)) {
      assertCleanText(key, 'a field name');
      pending.push({ value: item, depth: depth + 1, field: Array.isArray(value) ? field : key });
    }
  }
}

function refuseText(where: string): never {
  throw new BrokerError('invalid-request', {
    detail: `${where} has a control character or is not valid Unicode`,
  });
}
