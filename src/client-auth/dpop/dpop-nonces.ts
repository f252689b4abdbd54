import type { Mac } from '../../crypto/mac.ts';
import { type Clock, toEpochSeconds } from '../../platform/clock.ts';

export interface DpopNonces {
  /** Returns the nonce to use now. */
  current(): string;
  /** Whether a replica of this server made the nonce in the current or the previous period. Never throws. */
  isGood(nonce: unknown): boolean;
}

/** The length of a period. A nonce is valid in its own period and in the next one. */
const periodSeconds = 150;

/**
 * Makes and checks nonces for DPoP proofs (RFC 9449 section 8). A nonce is the number of the period and its MAC
 * under a key derived from the master key: every replica accepts the nonces of all others, and stores none.
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
      // The clock of the replica that made it may be ahead.
      return age >= -1 && age <= 1 && mac.verify(bytes.subarray(0, 6), bytes.subarray(6));
    },
  };
}
