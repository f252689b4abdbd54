import type { Person } from '../caller.ts';
import { hashSecret } from '../crypto/hash.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { findKeyHolder, recordKeyUse } from './keys/store.ts';

export interface KeyAuthentication {
  /** The person who holds `key`, or undefined if it is not good now. */
  authenticate(key: string): Promise<Person | undefined>;
  /** Writes what is known of the keys' last use; what cannot be written waits for the next time. */
  flush(): Promise<void>;
}

/** Looks a key's holder up with every request. When keys were last used is written by `flush`, which no request waits for. */
export function createKeyAuthentication({ db, clock }: { db: Db; clock: Clock }): KeyAuthentication {
  let uses = new Map<string, Date>();
  return {
    async authenticate(key) {
      const now = clock.now();
      const holder = await findKeyHolder(db, hashSecret(key), now);
      if (holder === undefined) return undefined;
      uses.set(holder.keyId, now);
      const { adminId: id, keyId, issuedBy: keyIssuedBy, roles, groups } = holder;
      return { kind: 'person', id, keyId, keyIssuedBy, roles, groups };
    },
    async flush() {
      const taken = uses;
      uses = new Map();
      if (taken.size === 0) return;
      try {
        await recordKeyUse(db, taken);
      } catch (error) {
        uses = new Map([...taken, ...uses]);
        throw error;
      }
    },
  };
}
