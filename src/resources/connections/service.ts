import type { Act, Person } from '../../caller.ts';
import type { Envelope } from '../../crypto/envelope.ts';
import { EnvelopeError } from '../../crypto/envelope.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import type { Engine, Target, TargetProblem } from '../../engines/engine.ts';
import type { Engines } from '../../engines/engines.ts';
import type { Mapping } from '../../engines/mapping.ts';
import type { EngineKind } from '../../engines/terms.ts';
import { BrokerError } from '../../errors.ts';
import { canonicalJson } from '../../platform/canonical-json.ts';
import { addSeconds, type Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import type { PreflightsService } from '../preflights/service.ts';
import { type Connection, type ConnectionInput, toConnection } from './connection.ts';
import { lockSameAdmin, shareSealedPassword } from './passwords.ts';
import * as store from './store.ts';
import { passwordPlace, type Targets, type TargetUse } from './targets.ts';

export interface ConnectionsDeps {
  db: Db;
  clock: Clock;
  ids: Ids;
  envelope: Envelope;
  targets: Targets;
  engines: Engines;
  preflights: Pick<PreflightsService, 'run'>;
}

export type { StoredConnection } from './store.ts';

/** A connection that is being written, with the resource for which it is. */
export interface NewConnection {
  resourceId: string;
  kind: EngineKind;
  input: ConnectionInput;
  /** The mappings of all scopes of the resource. */
  mappings: readonly Mapping[];
}

/** How long a connection is kept that nothing uses, so that a resource can begin to use it meanwhile. */
const unusedSeconds = 3_600;

export type ConnectionsService = ReturnType<typeof createConnectionsService>;

/** Creates the service for the connections to targets: they are tested, sealed, opened, and forgotten when unused. */
export function createConnectionsService(deps: ConnectionsDeps) {
  const { db, clock, envelope, targets, engines } = deps;
  return {
    /**
     * Stores a connection and tests its target. Returns it for the transaction in which the resource begins to use it.
     * Throws `target-not-usable` with the `problems` of the target.
     */
    prepare: (act: Act<Person>, connection: NewConnection) => prepare(deps, act, connection),
    /** Returns what is wrong with a mapping, without asking a target; undefined if it may be right. */
    mappingProblem: (kind: EngineKind, mapping: Mapping): string | undefined =>
      engines[kind].mappingProblem(mapping),
    /** Returns what ends an account in this kind of target if the broker never does. */
    fenceOf: (kind: EngineKind): Engine['fence'] => engines[kind].fence,
    find: (tx: Db, id: string): Promise<store.StoredConnection | undefined> => store.findConnection(tx, id),
    /** Returns the id that the names of this installation's accounts carry. */
    installationId: keepFirst(() => store.readInstallationId(db)),
    /** Returns the target of a connection. Throws `EnvelopeError` if its password cannot be decrypted. */
    open: (connection: store.StoredConnection, use: TargetUse): Target => targets.open(connection, use),
    /**
     * Gives the password of a tested connection to all other connections with the same admin account: leases that were made
     * through them end with it if an admin has changed the password in the target. Throws `conflict` if the broker has
     * replaced the password meanwhile.
     */
    sharePassword: (tx: Tx, id: string): Promise<void> => sharePassword(tx, deps, id),
    /** Tests the current target of a resource again. Throws `not-found` if it has no connection. */
    async test(resourceId: string, mappings: readonly Mapping[]): Promise<TargetProblem[]> {
      const connection = await store.findCurrentConnection(db, resourceId);
      if (connection === undefined) throw new BrokerError('not-found');
      return deps.preflights.run(connection, mappings);
    },
    /** Deletes connections that nothing needs any more, with their passwords. Returns how many. */
    deleteUnused: (fence: (tx: Tx) => Promise<void>): Promise<number> =>
      withTransaction(db, async (tx) => {
        await fence(tx);
        return store.deleteUnusedConnections(tx, addSeconds(clock.now(), -unusedSeconds));
      }),
    /** Encrypts the passwords again that an old master key encrypted. Returns how many. */
    reseal: (fence: (tx: Tx) => Promise<void>): Promise<number> =>
      withTransaction(db, async (tx) => {
        await fence(tx);
        return resealPasswords(tx, envelope);
      }),
  };
}

/** Reads a value that never changes, until it was read once. */
function keepFirst(read: () => Promise<string>): () => Promise<string> {
  let kept: string | undefined;
  return async () => {
    kept ??= await read();
    return kept;
  };
}

async function prepare(
  deps: ConnectionsDeps,
  act: Act<Person>,
  { resourceId, kind, input, mappings }: NewConnection,
): Promise<Connection> {
  const { db, clock, ids, envelope, preflights, engines } = deps;
  const made = { id: ids.next('connection'), createdAt: clock.now(), createdBy: act.caller.id };
  const about = { ...made, resourceId, kind, ports: engines[kind] };
  const connection = toConnection(input, about);
  const stored = await withTransaction(db, async (tx) => {
    const password = await passwordFor(deps, tx, { connection, given: input.password });
    const passwordSealed = envelope.seal(password, passwordPlace(connection.id));
    await store.insertConnection(tx, { ...connection, passwordSealed });
    return { ...connection, passwordSealed };
  });
  const problems = await preflights.run(stored, mappings);
  if (problems.length > 0) throw notUsable(problems);
  return connection;
}

/**
 * Returns the given password or, if none is given, the one that the broker has for the account. Nobody but the broker knows a
 * password that it has replaced. It is used with the same TLS settings and known replicas only, so that it cannot be sent to another
 * server.
 */
async function passwordFor(
  { envelope }: ConnectionsDeps,
  tx: Tx,
  { connection, given }: { connection: Connection; given: string | undefined },
): Promise<Buffer> {
  if (given !== undefined) return Buffer.from(given, 'utf8');
  const others = await lockSameAdmin(tx, connection);
  const same = others.find(
    ({ isUsed, tls, replicas }) =>
      isUsed &&
      canonicalJson(tls) === canonicalJson(connection.tls) &&
      connection.replicas.every((one) =>
        replicas.some((known) => canonicalJson(known) === canonicalJson(one)),
      ),
  );
  if (same === undefined) {
    throw new BrokerError('invalid-request', {
      detail:
        'the broker has no password for this account at this server with these TLS settings and replicas',
    });
  }
  return envelope.open(same.passwordSealed, passwordPlace(same.id));
}

/**
 * See `sharePassword` of the service. Throws `conflict` if the password was replaced since it was tested. A pending password
 * stays: the target may have it already.
 */
async function sharePassword(tx: Tx, { envelope }: ConnectionsDeps, id: string): Promise<void> {
  const connection = await store.findConnection(tx, id);
  if (connection === undefined) return;
  const rows = await lockSameAdmin(tx, connection);
  const own = rows.find((row) => row.id === id);
  if (own === undefined) return;
  if (rows.some(({ passwordChangedAt }) => passwordChangedAt > connection.createdAt)) {
    throw new BrokerError('conflict', { detail: 'the password of the account was replaced meanwhile' });
  }
  const password = envelope.open(own.passwordSealed, passwordPlace(id));
  for (const { id: each } of rows) {
    const sealed = envelope.seal(password, passwordPlace(each));
    await shareSealedPassword(tx, { id: each, sealed, at: connection.createdAt });
  }
}

/** Returns the error that tells an admin what a target lacks. */
export function notUsable(problems: readonly TargetProblem[]): BrokerError {
  const detail = problems.map(({ problem }) => problem).join('; ');
  return new BrokerError('target-not-usable', { detail: detail.slice(0, 1_000), extensions: { problems } });
}

async function resealPasswords(tx: Tx, envelope: Envelope): Promise<number> {
  let resealed = 0;
  for (const found of await store.listSealedPasswords(tx)) {
    if (envelope.isCurrent(found.sealed)) continue;
    const place = passwordPlace(found.id);
    try {
      const to = envelope.seal(envelope.open(found.sealed, place), place);
      resealed += await store.replaceSealedPassword(tx, found, to);
    } catch (error) {
      // Nothing can be done about it here. Each call that opens the connection fails with this error.
      if (!(error instanceof EnvelopeError)) throw error;
    }
  }
  return resealed;
}
