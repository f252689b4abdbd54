import type mysql from 'mysql2';
import { runBounded, unlessAborted } from '../bounded-call.ts';
import type { Address, TargetOptions } from '../engine.ts';
import { type Connection, type ConnectOptions, connect, type Login } from './connect.ts';
import { toLoginFailure, toTargetFailure } from './failure.ts';
import { computeProof } from './native-password.ts';
import { createPool, type Pool } from './pool.ts';

/** An open connection on which one call at a time runs its statements. */
export interface Session {
  /** Runs a statement and returns its rows. Each `?` in it stands for a value, which becomes a literal. */
  query<Row = unknown>(statement: string, values?: readonly (string | number)[]): Promise<Row[]>;
}
type Work<T> = (session: Session) => Promise<T>;

/** The connections of one call to a target, which must all be finished before the call's timeout. */
export interface Call {
  /** Runs `work` as the admin account on the primary server. No database is selected. */
  onPrimary<T>(work: Work<T>): Promise<T>;
  /** Runs `work` on a connection of the admin account that logs in as another account for it. */
  onPrimaryAs<T>(account: { name: string; password: string }, work: Work<T>): Promise<T>;
  /** Runs `work` as the admin account on each replica. The promises settle separately. */
  onReplicas<T>(work: Work<T>): Promise<T>[];
  /** Logs in to the primary server as an agent does. The caller ends the connection. */
  logIn(account: { name: string; password: string }): Promise<Connection>;
}

export interface Connections {
  /** Runs one call. Throws only `TargetFailure`. */
  run<T>(work: (call: Call) => Promise<T>): Promise<T>;
  /** Uses another password of the admin account from now on. */
  changePassword(password: string): void;
  close(): void;
}

const idleMs = 10_000;

/** Opens the pools to the servers of a target. Connects only when the first call needs it. */
export function openConnections(options: TargetOptions): Connections {
  const { connection, maxConnections, timeoutMs } = options;
  const { tls, username: name, replicas } = connection;
  let proof = computeProof(connection.password);
  const ssl: mysql.SslOptions | undefined =
    tls.mode === 'verify'
      ? { rejectUnauthorized: true, verifyIdentity: true, ...(tls.ca === undefined ? {} : { ca: tls.ca }) }
      : undefined;
  const settings = (address: Address, login: Login): ConnectOptions => ({ ...options, address, login, ssl });
  const setup = setupStatement(timeoutMs);
  const openPool = (address: Address): Pool =>
    createPool({
      max: maxConnections,
      idleMs,
      async connect(signal) {
        const opened = await connect(settings(address, { name, proof }), signal);
        await prepare(opened, signal, setup);
        return opened;
      },
    });
  const primary = openPool(connection);
  const others = replicas.map(openPool);

  const createCall = (signal: AbortSignal): Call => ({
    onPrimary: (work) => primary.use(signal, (opened) => work(toSession(opened))),
    onPrimaryAs: (account, work) =>
      primary.use(signal, async (opened) => {
        await changeUser(opened, { name: account.name, proof: computeProof(account.password) });
        const result = await work(toSession(opened));
        await changeUser(opened, { name, proof });
        await prepare(opened, signal, setup);
        return result;
      }),
    onReplicas: (work) => others.map((pool) => pool.use(signal, (opened) => work(toSession(opened)))),
    logIn: (account) => {
      const login = { name: account.name, proof: computeProof(account.password) };
      return connect({ ...settings(connection, login), database: connection.database }, signal);
    },
  });
  return {
    run: (work) =>
      runBounded({ timeoutMs, toFailure: toTargetFailure }, (signal) => work(createCall(signal))),
    changePassword(password) {
      proof = computeProof(password);
    },
    close() {
      for (const pool of [primary, ...others]) pool.close();
    },
  };
}

/**
 * Returns the statement that every session begins with. The mode decides how literals and names are quoted, also in SHOW GRANTS. GRANT must not make an
 * account. DDL on accounts ignores lock_wait_timeout, and obeys max_statement_time.
 */
function setupStatement(timeoutMs: number): string {
  return `set session sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_CREATE_USER', time_zone = '+00:00',
    sql_quote_show_create = 1, max_statement_time = ${timeoutMs / 1000}`;
}

async function prepare(connection: Connection, signal: AbortSignal, setup: string): Promise<void> {
  try {
    await unlessAborted(signal, toSession(connection).query(setup), () => {});
  } catch (error) {
    connection.reset();
    throw error;
  }
}

function toSession({ client }: Connection): Session {
  return {
    query: <Row>(statement: string, values: readonly (string | number)[] = []) =>
      new Promise<Row[]>((resolve, reject) => {
        client.query(statement, [...values], (error, rows) => {
          if (error === null) resolve(Array.isArray(rows) ? (rows as Row[]) : []);
          else reject(error);
        });
      }),
  };
}

/** Logs in as another account on the same connection. All settings of the session are lost. */
function changeUser({ client }: Connection, { name, proof }: Login): Promise<void> {
  const user = { user: name, passwordSha1: proof as unknown as string };
  return new Promise((resolve, reject) => {
    client.changeUser(user, (error) => (error === null ? resolve() : reject(toLoginFailure(error))));
  });
}
