import { isUtf8 } from 'node:buffer';
import { BrokerError } from '../errors.ts';
import { isCleanText } from '../platform/text.ts';

const maxDepth = 32;

/** The fields whose text has lines: policies and what people write for people. */
const multilineFields: ReadonlySet<string> = new Set(['cedar', 'reason', 'note']);
/** Refuses (400) a string that is not clean; `where` names the part of the request it stood in. */
export function assertCleanText(text: string, where: string): void {
  if (!isCleanText(text)) refuseText(where);
}

/** JSON is UTF-8 (RFC 8259 section 8.1): decoding would put a replacement character in the place of anything else. */
export function assertUtf8(body: Buffer, charset: string): void {
  if (charset !== 'utf-8' || !isUtf8(body))
    throw new BrokerError('invalid-request', { detail: 'the body is not UTF-8' });
}

/** Refuses (400) a JSON value nested deeper than 32 levels, with a number that is none, or a key or text that is not clean. */
export function assertCleanJson(body: unknown): void {
  const pending: { value: unknown; depth: number; field: string }[] = [
    { value: body, depth: 0, field: 'body' },
  ];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { value, depth, field } = next;
    if (typeof value === 'string' && !isCleanText(value, multilineFields.has(field))) refuseText(field);
    // `1e400` is no number any more once it is read, and would be null where it is written.
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
