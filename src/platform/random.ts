import { randomBytes } from 'node:crypto';

/** The only source of entropy. */
export interface Random {
  /** `length` unpredictable bytes. */
  bytes(length: number): Buffer;
}

const poolBytes = 8192;

/** The operating system's generator, read in blocks: one system call per token would show on the hot path. */
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

/** What a generated secret begins with, so that scanners and people recognise a leaked one. */
export type SecretPrefix = 'hpa' | 'hps' | 'hpr';

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** 62^43 > 2^256: 43 digits carry 32 bytes. */
const secretDigits = 43;

/**
 * A new secret: `<prefix>_` and 256 random bits as 43 base-62 digits, so only `[A-Za-z0-9_]`.
 * `hpa` is a person's API key, `hps` an agent's client secret, `hpr` a resource server's.
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
