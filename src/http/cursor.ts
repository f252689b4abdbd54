import type { Mac } from '../crypto/mac.ts';
import type { Page } from '../db/page.ts';
import { BrokerError } from '../errors.ts';

const macBytes = 32;

/**
 * Creates and reads cursors. A cursor is an authenticated position in one list, so a forged one, or one of another
 * list, is refused.
 */
export interface Cursors {
  /** Returns the `next_cursor` of `page`; null on the last page. */
  next<T>(list: string, page: Page<T>, positionOf: (item: T) => string[]): string | null;
  /** Returns the position in a cursor of `list`. Throws `invalid-cursor`. */
  read(list: string, cursor: string | undefined): string[] | undefined;
}

/** Creates cursors. `list` names the list and its filters, so that a cursor is valid only for these. */
export function createCursors(mac: Mac): Cursors {
  const tag = (list: string, payload: Buffer): Buffer =>
    mac.sign(Buffer.concat([Buffer.from(`${list}\n`), payload]));
  return {
    next(list, page, positionOf) {
      const last = page.items.at(-1);
      if (!page.more || last === undefined) return null;
      const payload = Buffer.from(JSON.stringify(positionOf(last)));
      return Buffer.concat([tag(list, payload), payload]).toString('base64url');
    },
    read(list, cursor) {
      if (cursor === undefined) return undefined;
      const bytes = Buffer.from(cursor, 'base64url');
      const payload = bytes.subarray(macBytes);
      // Buffer.from ignores invalid characters: only the canonical encoding is unchanged after a round trip.
      const canonical = bytes.toString('base64url') === cursor;
      const authentic = mac.verify(
        Buffer.concat([Buffer.from(`${list}\n`), payload]),
        bytes.subarray(0, macBytes),
      );
      if (!canonical || !authentic) throw new BrokerError('invalid-cursor');
      return JSON.parse(payload.toString('utf8')) as string[];
    },
  };
}
