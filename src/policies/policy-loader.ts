import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { Random } from '../platform/random.ts';
import { createPolicyEngine, type PolicyEngine } from './engine.ts';
import { failClosed } from './fail-closed.ts';
import * as store from './store.ts';

export interface PolicyLoader {
  /** Decides by the policies of the last `refresh`. Denies everything before the first. */
  engine: PolicyEngine;
  /**
   * Brings the engine up to date with the database. Returns the epoch in force, which is at least the epoch that the
   * database had when this was called. It may be lower than before if the database lost its last changes in a
   * failover. Reads through `db`: a caller in a transaction passes it, so that it needs no second connection. Throws
   * `unavailable`, and everything is denied, if a policy cannot be loaded.
   */
  refresh(db?: Db): Promise<bigint>;
}

/**
 * Creates the loader that keeps this replica's engine up to date. Each `refresh` reads only the epoch, unless it has
 * changed.
 */
export function createPolicyLoader({ db, random }: { db: Db; random: Random }): PolicyLoader {
  const engine = failClosed(createPolicyEngine({ random }));
  /** The last epoch that was read from the database. */
  let latest: bigint | undefined;
  const isBehind = (epoch: bigint): boolean => engine.epoch === undefined || engine.epoch < epoch;
  // One load per database handle: a caller in a transaction must not wait for a load that waits for a connection.
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
    // Epochs only rise, and this one was read later: the database lost changes.
    if (before !== undefined && epoch < before) engine.reset();
    return epoch;
  }

  return {
    engine,
    async refresh(through = db) {
      const epoch = await readEpoch(through);
      // A load that was already running may have read the policies before this epoch.
      while (isBehind(epoch)) await shareLoad(through);
      return engine.epoch ?? epoch;
    },
  };
}
