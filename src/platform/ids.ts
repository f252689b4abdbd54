import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** The prefix of each kind of id. */
export const idPrefixes = {
  admin: 'adm',
  adminKey: 'adk',
  agent: 'agt',
  approval: 'apr',
  call: 'cal',
  clientSecret: 'sec',
  connection: 'con',
  event: 'evt',
  grant: 'grt',
  grantEnding: 'end',
  lease: 'lse',
  policy: 'pol',
  credential: 'prf',
  request: 'req',
  resource: 'res',
  signingKey: 'key',
  token: 'tok',
  trustedIssuer: 'tis',
  upstreamCredential: 'upc',
} as const;

export type IdKind = keyof typeof idPrefixes;

/**
 * Creates ids: TypeID 0.3 (`<prefix>_` + base-32 UUIDv7). They sort by creation time, and the ids of one generator
 * sort in the order in which they were created, across all kinds.
 */
export interface Ids {
  next(kind: IdKind): string;
}

const counterBits = 12;
/**
 * If the clock is set back by at most this, the sequence stays at its last time until the clock has caught up. If it
 * is set back further, the sequence follows the clock.
 */
const bridgedMs = 10_000;

/**
 * Counts the ids within a millisecond (RFC 9562 section 6.2, method 1). The counter starts at a random number whose
 * first bit is 0, so that at least 2048 ids fit; beyond that, it continues in the next millisecond.
 */
function createSequence(clock: Clock, random: Random): () => { ms: number; count: number } {
  let ms = Number.NEGATIVE_INFINITY;
  let count = 0;
  return () => {
    const now = clock.now().getTime();
    if (now > ms || now < ms - bridgedMs) {
      ms = now;
      count = random.bytes(2).readUInt16BE() >>> (16 - counterBits + 1);
    } else if (count < 2 ** counterBits - 1) {
      count += 1;
    } else {
      ms += 1;
      count = 0;
    }
    return { ms, count };
  };
}

const digits = Buffer.from('0123456789abcdefghjkmnpqrstvwxyz', 'latin1');
const encodedLength = 26;

/** Encodes the 128 bits of a UUID as 26 digits of Crockford's base 32, after two zero bits (TypeID 0.3). */
function createEncoder(): (uuid: Uint8Array) => string {
  const text = Buffer.alloc(encodedLength);
  return (uuid) => {
    let pending = 0;
    let pendingBits = 2;
    let length = 0;
    for (const byte of uuid) {
      pending = (pending << 8) | byte;
      pendingBits += 8;
      while (pendingBits >= 5) {
        pendingBits -= 5;
        text[length] = digits[(pending >>> pendingBits) & 31] ?? 0;
        length += 1;
      }
      pending &= (1 << pendingBits) - 1;
    }
    return text.toString('latin1');
  };
}

/**
 * Creates UUIDv7 ids (RFC 9562 section 5.7) from a clock (48-bit Unix milliseconds), a 12-bit counter and 62 random
 * bits.
 */
export function createIds(clock: Clock, random: Random): Ids {
  const sequence = createSequence(clock, random);
  const encode = createEncoder();
  const uuid = Buffer.alloc(16);
  return {
    next(kind) {
      const { ms, count } = sequence();
      uuid.writeUIntBE(ms, 0, 6);
      uuid[6] = 0x70 | (count >>> 8);
      uuid[7] = count & 0xff;
      uuid.set(random.bytes(8), 8);
      uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
      return `${idPrefixes[kind]}_${encode(uuid)}`;
    },
  };
}
