import type { Envelope } from '../../crypto/envelope.ts';
import { sha256 } from '../../crypto/hash.ts';
import type { CreateSocket, Target } from '../../engines/engine.ts';
import type { Engines } from '../../engines/engines.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Random } from '../../platform/random.ts';
import type { StoredConnection } from './store.ts';

/**
 * What a connection to a target is used for. Each use has connections of its own, so that nothing else delays the end of
 * access: not many leases that are made at once, and not accounts that are hard to clean up.
 */
export type TargetUse = 'create' | 'disable' | 'clean-up' | 'preflight';

/** The most connections of this process to one target, by use, and the longest duration of one call. */
const limits: Record<TargetUse, { maxConnections: number; timeoutMs: number }> = {
  create: { maxConnections: 4, timeoutMs: 5_000 },
  disable: { maxConnections: 5, timeoutMs: 5_000 },
  'clean-up': { maxConnections: 3, timeoutMs: 5_000 },
  preflight: { maxConnections: 2, timeoutMs: 5_000 },
};

/** How many targets stay open. An open target without calls holds no connection for long. */
const maxOpen = 1_000;

export interface TargetsDeps {
  envelope: Envelope;
  createSocket: CreateSocket;
  engines: Engines;
  clock: Clock;
  random: Random;
}

/** The targets that this process has opened. */
export interface Targets {
  open(connection: StoredConnection, use: TargetUse): Target;
  close(): Promise<void>;
}

/** Returns the place to which the password of a connection is sealed. */
export const passwordPlace = (connectionId: string) => ({
  table: 'connections',
  column: 'password_sealed',
  row: connectionId,
});

export function createTargets(deps: TargetsDeps): Targets {
  const { envelope, createSocket, engines, clock, random } = deps;
  const open = new Map<string, Target>();

  function closeOldest(): void {
    const [oldest] = open;
    if (oldest === undefined || open.size < maxOpen) return;
    open.delete(oldest[0]);
    void oldest[1].close().catch(() => {});
  }

  return {
    open(stored, use) {
      // With the password, because another replica may have stored another one.
      const key = `${stored.id} ${use} ${sha256(stored.passwordSealed).toString('base64url')}`;
      const known = open.get(key);
      // Moved to the end, so that the least recently used target is the first one.
      open.delete(key);
      if (known === undefined) closeOldest();
      const { passwordSealed, database, ...connection } = stored;
      const target =
        known ??
        engines[stored.kind].open({
          connection: {
            ...connection,
            database: database ?? undefined,
            password: envelope.open(passwordSealed, passwordPlace(stored.id)).toString('utf8'),
          },
          createSocket,
          clock,
          random,
          ...limits[use],
        });
      open.set(key, target);
      return target;
    },
    async close() {
      await Promise.all([...open.values()].map((target) => target.close()));
      open.clear();
    },
  };
}
