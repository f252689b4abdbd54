import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { Random } from '../platform/random.ts';
import { createPolicyEngine, type PolicyEngine } from './engine.ts';
import { failClosed } from './fail-closed.ts';
import * as store from './store.ts';

export interface PolicyLoader {
  /** Decides by the policies that `refresh` found last; denies everything before that. */
  engine: PolicyEngine;
  /**
   * Brings the engine up to date with the database and answers the epoch in force, which is no older than that of
   * the database when this was called. That may be an older one than before: of a database that lost its last changes
   * in a failover. Reads through `db`: a caller inside a transaction hands that in, so that it does not wait for a second
   * connection. Throws `unavailable`, and everything is denied, if a policy does not load.
   */
  refresh(db?: Db): Promise<bigint>;
}

/** Keeps one replica's engine in step with the stored policies: no notification is needed, only the epoch is read. */
export function createPolicyLoader({ db, random }: { db: Db; random: Random }): PolicyLoader {
  const engine = failClosed(createPolicyEngine({ random }));
  /** What the database said last. */
  let latest: bigint | undefined;
  const isBehind = (epoch: bigint): boolean => engine.epoch === undefined || engine.epoch < epoch;
  // One load per handle: callers in transactions must not wait for one that waits for their connections.
  const loads = new WeakMap<Db, Promise<void>>();

  async function load(through: Db): Promise<void> {
    const { epoch, policies } = await store.readPolicySet(through);
    latest = epoch;
    if (isBehind(epoch) && !engine.load(policies, epoch)) {
      throw new BrokerError('unavailable', { internal: `a later epoch than ${epoch} could not be loaded` });
    }
  }

  function shareLoad(through: Db): Promise<void> {
    const running = loads.get(through) ?? load(through).finally(() => loads.delete(through));
    loads.set(through, running);
    return running;
  }

  async function readEpoch(through: Db): Promise<bigint> {
    const before = latest;
    const epoch = BigInt(await store.readEpoch(through));
    latest = epoch;
    // Epochs only rise, and this was read after that: the database was set back.
    if (before !== undefined && epoch < before) engine.reset();
    return epoch;
  }

  return {
    engine,
    async refresh(through = db) {
      const epoch = await readEpoch(through);
      // A load that was running already may have read the policies before this epoch.
      while (isBehind(epoch)) await shareLoad(through);
      return engine.epoch ?? epoch;
    },
  };
}
