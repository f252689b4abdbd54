import { randomBytes } from 'node:crypto';

/** The only source of entropy. */
export interface Random {
  /** Returns `length` unpredictable bytes. */
  bytes(length: number): Buffer;
}

const poolBytes = 8192;

/** Creates a source that reads the operating system's generator in blocks: one system call per token would be slow. */
export function createSystemRandom(): Random {
  let pool = Buffer.alloc(0);
  let used = 0;
  return {
    bytes(length) {
      if (length > poolBytes) return randomBytes(length);
      if (used + length > pool.length) {
        pool = randomBytes(poolBytes);
        used = 0;
      }
      const taken = Buffer.from(pool.subarray(used, used + length));
      pool.fill(0, used, used + length);
      used += length;
      return taken;
    },
  };
}

/** The prefix of a generated secret, by which scanners and people recognise a leaked one. */
export type SecretPrefix = 'hpa' | 'hps' | 'hpr' | 'hpl' | 'hpt';

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 43 digits hold 32 bytes, because 62^43 > 2^256. */
const secretDigits = 43;

/**
 * Generates a secret: `<prefix>_` and 256 random bits as 43 base-62 digits, so only `[A-Za-z0-9_]`. `hpa` is a
 * person's API key, `hps` an agent's client secret, `hpr` a resource server's, `hpl` the password of a
 * lease, and `hpt` that of an admin account in a target.
 */
export function generateSecret(random: Random, prefix: SecretPrefix): string {
  let value = BigInt(`0x${random.bytes(32).toString('hex')}`);
  let digits = '';
  for (let i = 0; i < secretDigits; i += 1) {
    digits = base62.charAt(Number(value % 62n)) + digits;
    value /= 62n;
  }
  return `${prefix}_${digits}`;
}
