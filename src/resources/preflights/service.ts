import { EnvelopeError } from '../../crypto/envelope.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { nextAccountName } from '../../engines/account-name.ts';
import type { Target, TargetProblem } from '../../engines/engine.ts';
import type { Mapping } from '../../engines/mapping.ts';
import { preflight } from '../../engines/preflight.ts';
import { TargetFailure } from '../../engines/target-failure.ts';
import { BrokerError } from '../../errors.ts';
import { addSeconds, type Clock } from '../../platform/clock.ts';
import { createKeyedQueue } from '../../platform/keyed-queue.ts';
import { generateSecret, type Random } from '../../platform/random.ts';
import { nextAttemptAt } from '../../platform/retry.ts';
import { findConnection, readInstallationId, type StoredConnection } from '../connections/store.ts';
import type { Targets } from '../connections/targets.ts';
import * as store from './store.ts';

export interface PreflightsDeps {
  db: Db;
  clock: Clock;
  random: Random;
  targets: Targets;
  /** Whether a target is the server of the broker's own database. */
  isOwnDatabase: (targetId: string) => Promise<boolean>;
}
const notDecrypted =
  'the password of the admin account cannot be decrypted with the master key of the broker: write the connection again';

export type PreflightsService = ReturnType<typeof createPreflightsService>;

/** After this time no process makes the account of a preflight any more: it is longer than a preflight takes. */
const deadlineSeconds = 60;
const batchRows = 20;
const notIdentified = 'the target did not tell which server it is';
const ownDatabase =
  "this is the server of the broker's own database: an account in it could reach the broker's secrets";

/** Creates the service that tests targets. The name of each account is recorded before the target is touched. */
export function createPreflightsService(deps: PreflightsDeps) {
  const { db } = deps;
  const full = new BrokerError('overloaded', {
    detail: 'too many targets are being tested',
    retryAfterSeconds: 5,
  });
  const queue = createKeyedQueue({ atOnce: 4, maxWaiting: 16, full });
  return {
    /** Tests the target of a connection with an account of its own. Returns what is wrong with it; empty if nothing is. */
    run: (connection: StoredConnection, mappings: readonly Mapping[]): Promise<TargetProblem[]> =>
      queue.run(connection.resourceId, () => run(deps, connection, mappings)),
    /** Destroys the accounts that crashed and failed preflights have left. Returns how many are gone. */
    async destroyLeft(fence: (tx: Tx) => Promise<void>, signal: AbortSignal): Promise<number> {
      const now = deps.clock.now();
      const left = await withTransaction(db, async (tx) => {
        await fence(tx);
        return store.takeLeftPreflights(tx, {
          now,
          nextAttemptAt: addSeconds(now, deadlineSeconds),
          limit: batchRows,
        });
      });
      let gone = 0;
      for (const account of left) if (!signal.aborted && (await destroy(deps, account))) gone += 1;
      return gone;
    },
  };
}

async function run(
  deps: PreflightsDeps,
  connection: StoredConnection,
  mappings: readonly Mapping[],
): Promise<TargetProblem[]> {
  const { db, clock, random, targets } = deps;
  const name = nextAccountName(await readInstallationId(db), random);
  const target = open(targets, connection);
  if (target === undefined) return [{ problem: notDecrypted }];
  if ((await isOwn(deps, target)) === true) return [{ problem: ownDatabase }];
  const account = { name, password: generateSecret(random, 'hpl') };
  const record = async (): Promise<void> => {
    const deadlineAt = addSeconds(clock.now(), deadlineSeconds);
    const row = { accountName: name, connectionId: connection.id, deadlineAt, nextAttemptAt: deadlineAt };
    await store.insertPreflight(db, row);
  };
  const problems = await preflight({ target, mappings, account, clock, record });
  // With a problem the account may still exist: its row stays, and a job destroys it.
  if (problems.length > 0) return problems;
  await store.deletePreflight(db, name);
  // Asked again, because a target that did not answer before the test must not pass for another server.
  const own = await isOwn(deps, target);
  return own === false ? [] : [{ problem: own === true ? ownDatabase : notIdentified }];
}

/** Returns undefined if the password of the connection cannot be decrypted. */
function open(targets: Targets, connection: StoredConnection): Target | undefined {
  try {
    return targets.open(connection, 'preflight');
  } catch (error) {
    if (error instanceof EnvelopeError) return undefined;
    throw error;
  }
}

/** Returns undefined if the target does not answer. */
async function isOwn({ isOwnDatabase }: PreflightsDeps, target: Target): Promise<boolean | undefined> {
  try {
    const id = await target.identify();
    return id !== undefined && (await isOwnDatabase(id));
  } catch (error) {
    // The preflight reports why the target cannot be asked.
    if (error instanceof TargetFailure) return undefined;
    throw error;
  }
}

async function destroy(deps: PreflightsDeps, account: store.PreflightAccount): Promise<boolean> {
  const { db, clock, targets } = deps;
  const { accountName, connectionId, attempts } = account;
  try {
    const connection = await findConnection(db, connectionId);
    if (connection === undefined)
      throw new BrokerError('internal', { internal: `connection ${connectionId} is gone` });
    const target = targets.open(connection, 'preflight');
    await target.disableAccess(accountName);
    await target.endSessions(accountName);
    const { isGone } = await target.cleanUp(accountName);
    if (!isGone) throw new Error('the account owns objects');
    await store.deletePreflight(db, accountName);
    return true;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const at = nextAttemptAt(attempts, clock.now());
    await store.postponePreflight(db, { accountName, nextAttemptAt: at, error: text.slice(0, 500) });
    return false;
  }
}
