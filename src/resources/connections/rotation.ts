import type { Audit } from '../../audit/audit.ts';
import { type Actor, byAct, type NewAuditEvent, systemActor } from '../../audit/audit-event.ts';
import type { Act, Origin, Person } from '../../caller.ts';
import type { Envelope } from '../../crypto/envelope.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { TargetFailure } from '../../engines/target-failure.ts';
import { BrokerError, refuse } from '../../errors.ts';
import { addSeconds, type Clock } from '../../platform/clock.ts';
import { generateSecret, type Random } from '../../platform/random.ts';
import * as store from './passwords.ts';
import { findConnection, findCurrentConnection, type StoredConnection } from './store.ts';
import { passwordPlace, type Targets } from './targets.ts';

export interface RotationDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  random: Random;
  envelope: Envelope;
  targets: Targets;
}

export type PasswordRotation = ReturnType<typeof createPasswordRotation>;

interface By {
  actor: Actor;
  origin?: Origin;
}

/** Creates the service that replaces the passwords of the broker's own accounts in targets. */
export function createPasswordRotation(deps: RotationDeps) {
  const { db, clock } = deps;
  const by = { actor: systemActor('rotate-target-passwords') };
  return {
    /**
     * Replaces the password of a target's admin account for an admin. Returns when it was replaced. Throws `not-found`,
     * `conflict` if it is being replaced, and `target-unavailable`: then the worker goes on with it.
     */
    async rotate(act: Act<Person>, resourceId: string): Promise<Date> {
      const connection = await findCurrentConnection(db, resourceId);
      if (connection === undefined) throw new BrokerError('not-found');
      const by = byAct(act);
      const claimedAt = await begin(deps, { connection, by });
      return attempt(deps, { id: connection.id, by, claimedAt });
    },
    /** Goes on with what was not finished, and replaces the passwords that are due. Returns how many it replaced. */
    async rotateDue(fence: (tx: Tx) => Promise<void>, signal: AbortSignal): Promise<number> {
      // Each is claimed only when it begins, because the attempt before it may take long.
      const goOn = async (id: string): Promise<boolean> => {
        const now = clock.now();
        const claim = { id, before: addSeconds(now, -store.attemptSeconds), now };
        const isClaimed = await withTransaction(db, async (tx) => {
          await fence(tx);
          return store.claimUnfinished(tx, claim);
        });
        if (isClaimed) await recover(deps, { id, by, claimedAt: now });
        return isClaimed;
      };
      const replace = async (id: string): Promise<boolean> => {
        const connection = await findConnection(db, id);
        if (connection === undefined) return false;
        const claimedAt = await begin(deps, { connection, by, fence });
        await attempt(deps, { id, by, claimedAt });
        return true;
      };
      const before = addSeconds(clock.now(), -store.attemptSeconds);
      const recovered = await forEach(await store.listUnfinished(db, before), signal, goOn);
      return recovered + (await forEach(await store.listDue(db, clock.now()), signal, replace));
    },
  };
}

/**
 * Returns for how many `work` did something. A target that fails must not keep the others: its failure was recorded. Any other
 * error is thrown at the end.
 */
async function forEach(
  ids: readonly string[],
  signal: AbortSignal,
  work: (id: string) => Promise<boolean>,
): Promise<number> {
  let done = 0;
  const errors: unknown[] = [];
  for (const id of ids) {
    if (signal.aborted) break;
    try {
      if (await work(id)) done += 1;
    } catch (error) {
      if (!(error instanceof BrokerError)) errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return done;
}

interface Beginning {
  connection: StoredConnection;
  by: By;
  fence?: (tx: Tx) => Promise<void>;
}

/** Stores the next password at every connection with the account, before the target gets it. Returns when. */
async function begin(deps: RotationDeps, { connection, by, fence }: Beginning): Promise<Date> {
  const { db, audit, clock, random, envelope } = deps;
  const next = Buffer.from(generateSecret(random, 'hpt'), 'utf8');
  return withTransaction(db, async (tx) => {
    await fence?.(tx);
    const at = clock.now();
    const rows = await store.lockSameAdmin(tx, connection);
    if (rows.some(({ pendingAt }) => pendingAt !== null)) {
      return refuse('conflict', { detail: 'the password of this account is being replaced' });
    }
    for (const { id } of rows)
      await store.setPending(tx, { id, sealed: envelope.seal(next, passwordPlace(id)), at });
    await audit.append(tx, about(by, connection, 'target.password_rotation_started'));
    return at;
  });
}

const about = (
  by: By,
  { id, resourceId, username }: Pick<StoredConnection, 'id' | 'resourceId' | 'username'>,
  type: NewAuditEvent['type'],
): NewAuditEvent => ({ ...by, type, objectId: resourceId, details: { connection_id: id, username } });

/** A rotation that this process works on. */
interface Claim {
  /** The id of the connection. */
  id: string;
  by: By;
  /** When this process began or claimed it. Once another one has claimed it, this one must change nothing. */
  claimedAt: Date;
}

/** Sets the pending password in the target, and logs in with it. */
function attempt(deps: RotationDeps, claim: Claim): Promise<Date> {
  return finish(deps, claim, (change) => setPassword(deps, change));
}

/**
 * Continues a rotation that another process did not finish. Sets the pending password in the target; if the target
 * already has it, removes every other one.
 */
function recover(deps: RotationDeps, claim: Claim): Promise<Date> {
  return finish(deps, claim, async (change) => {
    if (!(await isAccepted(deps, change.next))) return setPassword(deps, change);
    const refusal = await removeOthers(deps, change);
    if (refusal !== undefined)
      await recordFailure(deps, { connection: change.stored, claim, error: refusal });
  });
}

async function isAccepted({ targets }: RotationDeps, connection: StoredConnection): Promise<boolean> {
  try {
    await targets.open(connection, 'preflight').checkHealth();
    return true;
  } catch (error) {
    if (!(error instanceof TargetFailure) || error.problem !== 'login-refused') throw error;
    return false;
  }
}

/**
 * Sets the pending password again, which the target accepts. Some targets accept several passwords for one account, so
 * the old one may still work. Returns the refusal of the target if it refuses: the broker changes to the pending
 * password all the same.
 */
async function removeOthers(
  { targets }: RotationDeps,
  { next, password, deadline }: Change,
): Promise<TargetFailure | undefined> {
  try {
    await targets.open(next, 'preflight').rotateAdminCredential({ password, deadline });
    return undefined;
  } catch (error) {
    const isRefused = error instanceof TargetFailure && !error.isUnreachable;
    if (!isRefused || error.problem === 'deadline-passed') throw error;
    return error;
  }
}

async function setPassword(
  { targets }: RotationDeps,
  { stored, next, password, deadline }: Change,
): Promise<void> {
  await targets.open(stored, 'preflight').rotateAdminCredential({ password, deadline });
  await targets.open(next, 'preflight').checkHealth();
}

interface Change {
  /** The connection with the password that the target had before. */
  stored: StoredConnection;
  /** The connection with the pending password. */
  next: StoredConnection;
  password: string;
  deadline: Date;
}

/** Makes a change with the pending password, and records the outcome. Both passwords are kept if it fails. */
async function finish(
  deps: RotationDeps,
  claim: Claim,
  change: (change: Change) => Promise<void>,
): Promise<Date> {
  const { db, envelope } = deps;
  const { id, by, claimedAt } = claim;
  const stored = await findConnection(db, id);
  const pending = await store.findPassword(db, id);
  const isClaimed = pending?.pendingAt?.getTime() === claimedAt.getTime();
  if (stored === undefined || pending?.pendingSealed == null || !isClaimed) throw new BrokerError('conflict');
  const { pendingSealed } = pending;
  const next = { ...stored, passwordSealed: pendingSealed };
  const password = envelope.open(pendingSealed, passwordPlace(id)).toString('utf8');
  try {
    await change({ stored, next, password, deadline: store.deadlineOf(claimedAt) });
  } catch (error) {
    await recordFailure(deps, { connection: stored, claim, error });
    if (!(error instanceof TargetFailure)) throw error;
    throw new BrokerError('target-unavailable', {
      detail: 'the password could not be replaced now: the broker goes on with it',
      cause: error,
      retryAfterSeconds: store.attemptSeconds,
    });
  }
  return promote(deps, next, by);
}

/** Gives the new password to every connection with the account. */
async function promote(deps: RotationDeps, next: StoredConnection, by: By): Promise<Date> {
  const { db, audit, clock, envelope } = deps;
  const password = envelope.open(next.passwordSealed, passwordPlace(next.id));
  return withTransaction(db, async (tx) => {
    const at = clock.now();
    const rows = await store.lockSameAdmin(tx, next);
    const own = rows.find(({ id }) => id === next.id);
    // Somebody else has finished it, or has given the account another password.
    if (own?.pendingSealed == null || !own.pendingSealed.equals(next.passwordSealed))
      return refuse('conflict');
    for (const { id } of rows)
      await store.setPassword(tx, { id, sealed: envelope.seal(password, passwordPlace(id)), at });
    await audit.append(tx, about(by, next, 'target.password_rotated'));
    return at;
  });
}

/** Records the first failure of a rotation, and each one that a person sees. */
async function recordFailure(
  { db, audit, clock }: RotationDeps,
  { connection, claim, error }: { connection: StoredConnection; claim: Claim; error: unknown },
): Promise<void> {
  const { by, claimedAt } = claim;
  const isTarget = error instanceof TargetFailure;
  const reason = isTarget ? error.message : 'internal error';
  await withTransaction(db, async (tx) => {
    const isFirst = await store.noteFailure(tx, { id: connection.id, claimedAt, at: clock.now() });
    if (!isFirst && by.origin === undefined) return;
    const event = about(by, connection, 'target.password_rotation_failed');
    const statement = isTarget ? error.statement : undefined;
    await audit.append(tx, { ...event, details: { ...event.details, reason, statement } });
  });
}
