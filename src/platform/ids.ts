import { TypeID } from 'typeid-js';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** Every kind of id and its prefix. */
export const idPrefixes = {
  admin: 'adm',
  adminKey: 'adk',
  agent: 'agt',
  approval: 'apr',
  clientSecret: 'sec',
  event: 'evt',
  grant: 'grt',
  policy: 'pol',
  request: 'req',
  resource: 'res',
  signingKey: 'key',
  token: 'tok',
} as const;

export type IdKind = keyof typeof idPrefixes;

/** Makes ids: TypeID 0.3 (`<prefix>_` + base-32 UUIDv7), so they sort by the time they were made. */
export interface Ids {
  next(kind: IdKind): string;
}

/** Ids from a clock (48-bit Unix milliseconds) and 74 random bits: UUIDv7, RFC 9562 section 5.7. */
export function createIds(clock: Clock, random: Random): Ids {
  return {
    next(kind) {
      const bytes = random.bytes(16);
      bytes.writeUIntBE(clock.now().getTime(), 0, 6);
      bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
      bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
      return TypeID.fromUUIDBytes(idPrefixes[kind], bytes).toString();
    },
  };
}
