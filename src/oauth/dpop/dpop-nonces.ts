import type { Mac } from '../../crypto/mac.ts';
import { type Clock, toEpochSeconds } from '../../platform/clock.ts';

export interface DpopNonces {
  /** The one to use now. */
  current(): string;
  /** Whether it is one of ours, no older than two periods. Never throws. */
  isGood(nonce: unknown): boolean;
}

/** A new one each time; the one before is good, too. */
const periodSeconds = 150;

/**
 * Nonces for proofs (RFC 9449 section 8): the number of the period, and its tag under a key that all replicas derive from
 * the master key. So any of them takes the nonce of any other, and none has to be kept.
 */
export function createDpopNonces({ clock, mac }: { clock: Clock; mac: Mac }): DpopNonces {
  const period = (): number => Math.floor(toEpochSeconds(clock.now()) / periodSeconds);
  let last = { period: Number.NaN, nonce: '' };

  function payloadOf(number: number): Buffer {
    const payload = Buffer.alloc(6);
    payload.writeUIntBE(number, 0, 6);
    return payload;
  }

  return {
    current() {
      const now = period();
      if (last.period !== now) {
        const payload = payloadOf(now);
        last = { period: now, nonce: Buffer.concat([payload, mac.sign(payload)]).toString('base64url') };
      }
      return last.nonce;
    },
    isGood(nonce) {
      if (typeof nonce !== 'string' || nonce.length > 64) return false;
      if (nonce === last.nonce && last.period === period()) return true;
      const bytes = Buffer.from(nonce, 'base64url');
      if (bytes.length !== 6 + 32 || bytes.toString('base64url') !== nonce) return false;
      const age = period() - bytes.readUIntBE(0, 6);
      // One ahead: the clock of who gave it may be.
      return age >= -1 && age <= 1 && mac.verify(bytes.subarray(0, 6), bytes.subarray(6));
    },
  };
}
