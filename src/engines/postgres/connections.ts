import pg from 'pg';
import { runBounded, unlessAborted } from '../bounded-call.ts';
import type { Address, TargetOptions } from '../engine.ts';
import { settleAll } from '../settle.ts';
import { toTargetFailure } from './failure.ts';

/** An open connection on which one call at a time runs its statements. */
export type Session = Pick<pg.ClientBase, 'query'>;
type Work<T> = (session: Session) => Promise<T>;

/** The connections of one call to a target, which must all be finished before the call's timeout. */
export interface Call {
  /** Runs `work` as the admin account on the primary server, in the database of the leases. */
  onPrimary<T>(work: Work<T>): Promise<T>;
  /** Runs `work` as the admin account in another database of the primary server. */
  inDatabase<T>(database: string, work: Work<T>): Promise<T>;
  /** Runs `work` as the admin account on every replica at the same time. Fails if it fails on one, after all have ended. */
  onReplicas<T>(work: Work<T>): Promise<T[]>;
  /** Logs in to the primary server as another account. The caller ends the connection. */
  logIn(account: { name: string; password: string }): Promise<pg.Client>;
}

export interface Connections {
  /** Runs one call. Throws only `TargetFailure`. */
  run<T>(work: (call: Call) => Promise<T>): Promise<T>;
  /** Uses another password of the admin account from now on. */
  changePassword(password: string): void;
  close(): Promise<void>;
}

const lockTimeoutMs = 5_000;
const idleTimeoutMs = 10_000;
const database = 'postgres';

/** Opens the pools to the servers of a target. Connects only when the first call needs it. */
export function openConnections(options: TargetOptions): Connections {
  const { connection, maxConnections, timeoutMs } = options;
  const primary = { host: connection.host, port: connection.port };
  let adminPassword = connection.password;
  const admin = (address: Address): pg.ClientConfig => ({
    ...clientConfig(address, options),
    user: connection.username,
    password: () => adminPassword,
  });
  // One connection is left for calls in other databases.
  const pool = openPool(admin(primary), Math.max(1, maxConnections - 1));
  const replicas = connection.replicas.map((address) => openPool(admin(address), maxConnections));
  const inTurn = runOneAtATime();

  const createCall = (signal: AbortSignal): Call => ({
    onPrimary: (work) => usePool(pool, { signal, work }),
    inDatabase: (name, work) =>
      inTurn(() => useClient({ ...admin(primary), database: name }, { signal, work })),
    onReplicas: (work) => settleAll(replicas.map((replica) => usePool(replica, { signal, work }))),
    logIn: ({ name, password }) =>
      connect({ ...clientConfig(primary, options), user: name, password }, signal),
  });
  return {
    run: (work) =>
      runBounded({ timeoutMs, toFailure: toTargetFailure }, (signal) => work(createCall(signal))),
    changePassword(password) {
      adminPassword = password;
    },
    close: async () => void (await Promise.all([pool, ...replicas].map((each) => each.end()))),
  };
}

/** Returns the settings of every connection. None comes from the environment of the process. */
function clientConfig({ host, port }: Address, { connection, createSocket, timeoutMs }: TargetOptions) {
  const { mode, ca } = connection.tls;
  return {
    host,
    port,
    database: connection.database ?? database,
    ssl: mode === 'verify' && { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) },
    sslnegotiation: 'postgres',
    stream: () => createSocket({ encrypted: mode === 'verify' }),
    connectionTimeoutMillis: timeoutMs,
    statement_timeout: timeoutMs,
    lock_timeout: lockTimeoutMs,
    idle_in_transaction_session_timeout: timeoutMs,
    application_name: 'hallpass',
    client_encoding: 'UTF8',
    // Names in statements must not resolve to objects that an account has made.
    options: '-c search_path=pg_catalog',
  } satisfies pg.ClientConfig;
}

function openPool(config: pg.ClientConfig, max: number): pg.Pool {
  const pool = new pg.Pool({ ...config, max, idleTimeoutMillis: idleTimeoutMs, allowExitOnIdle: true });
  // Without a listener, the loss of a connection would end the process. The call on it fails anyway.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

interface Use<T> {
  signal: AbortSignal;
  work: Work<T>;
}

/** Runs `work` on a connection of the pool, which is closed if the work fails or the signal is aborted. */
async function usePool<T>(pool: pg.Pool, { signal, work }: Use<T>): Promise<T> {
  const client = await unlessAborted(signal, pool.connect(), (late) => late.release());
  let isReleased = false;
  const release = (isBroken: boolean): void => {
    if (!isReleased) client.release(isBroken);
    isReleased = true;
  };
  const abort = (): void => release(true);
  signal.addEventListener('abort', abort, { once: true });
  try {
    const result = await work(client);
    release(false);
    return result;
  } finally {
    signal.removeEventListener('abort', abort);
    release(true);
  }
}

/** Runs `work` on a connection of its own. */
async function useClient<T>(config: pg.ClientConfig, { signal, work }: Use<T>): Promise<T> {
  const client = await connect(config, signal);
  const abort = (): void => void client.end();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(client);
  } finally {
    signal.removeEventListener('abort', abort);
    void client.end().catch(() => {});
  }
}

async function connect(config: pg.ClientConfig, signal: AbortSignal): Promise<pg.Client> {
  signal.throwIfAborted();
  const client = new pg.Client(config);
  client.on('error', () => {});
  // The connection is given up after its own timeout, if the signal is aborted before.
  await unlessAborted(signal, client.connect(), () => client.end());
  return client;
}

/** Creates a function that runs one work after the other. */
function runOneAtATime(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const next = last.then(work);
    last = next.catch(() => {});
    return next;
  };
}
