import type { Person } from '../caller.ts';
import { hashSecret } from '../crypto/hash.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import { findKeyHolder, recordKeyUse } from './keys/store.ts';

const flushAfterMs = 60_000;

export interface KeyAuthentication {
  /** The person who holds `key`, or undefined if it is not good now. */
  authenticate(key: string): Promise<Person | undefined>;
  /** Writes what is known of the keys' last use. */
  flush(): Promise<void>;
}

/** Looks a key's holder up with every request; when keys were last used is written once a minute. */
export function createKeyAuthentication({ db, clock }: { db: Db; clock: Clock }): KeyAuthentication {
  let uses = new Map<string, Date>();
  let flushedAt = clock.now().getTime();
  const flush = async (): Promise<void> => {
    const taken = uses;
    uses = new Map();
    flushedAt = clock.now().getTime();
    if (taken.size > 0) await recordKeyUse(db, taken);
  };
  return {
    async authenticate(key) {
      const now = clock.now();
      const holder = await findKeyHolder(db, hashSecret(key), now);
      if (holder === undefined) return undefined;
      uses.set(holder.keyId, now);
      if (now.getTime() - flushedAt >= flushAfterMs) await flush();
      const { adminId: id, keyId, issuedBy: keyIssuedBy, roles, groups } = holder;
      return { kind: 'person', id, keyId, keyIssuedBy, roles, groups };
    },
    flush,
  };
}
