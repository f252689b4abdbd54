import type { Person } from '../caller.ts';
import { hashSecret } from '../crypto/hash.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { findKeyHolder, recordKeyUse } from './keys/store.ts';

export interface KeyAuthentication {
  /** Returns the person who holds `key`; undefined if the key is not valid now. */
  authenticate(key: string): Promise<Person | undefined>;
  /** Stores when each key was last used. If that fails, it throws, and the next call stores these times as well. */
  flush(): Promise<void>;
}

/**
 * Creates the authentication of people by their API keys. The holder of a key is read from the database for every request.
 * The time of the last use of a key is kept in memory until `flush`, so that no request waits for that write.
 */
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
      const pending = uses;
      uses = new Map();
      if (pending.size === 0) return;
      try {
        await recordKeyUse(db, pending);
      } catch (error) {
        uses = new Map([...pending, ...uses]);
        throw error;
      }
    },
  };
}
