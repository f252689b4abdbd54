import type { Mac } from '../crypto/mac.ts';
import type { Page } from '../db/page.ts';
import { BrokerError } from '../errors.ts';

const macBytes = 32;

/** Makes and reads cursors: a position in one list, authenticated, so that a forged or foreign one is refused. */
export interface Cursors {
  /** `next_cursor` of `page`: null if it is the last one. */
  next<T>(list: string, page: Page<T>, positionOf: (item: T) => string[]): string | null;
  /** The position in a cursor of `list`. Throws `invalid-cursor`. */
  read(list: string, cursor: string | undefined): string[] | undefined;
}

/** `list` names the list together with its filters: a cursor of one is no cursor of another. */
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
      // Buffer.from skips what is not base64url: only the form that we write comes back unchanged.
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
