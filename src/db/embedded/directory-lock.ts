import { Client } from 'pg';
import { BrokerError } from '../../errors.ts';
import type { Clock } from '../../platform/clock.ts';
import { pause } from './wait.ts';

/** "hallpass" in ASCII: the advisory lock, in the database `postgres`, that means "a broker holds this server". */
const lockKey = '7521412065683141491';

/** What a server answers, or a socket, while it starts, stops or is full: to be tried again. */
const passing = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  '08006',
  '53300',
  '57P01',
  '57P02',
  '57P03',
]);

/** The session that holds a server's lock; it is the only use of the superuser. */
export interface DirectoryLock {
  client: Client;
  /** Calls `report` once if the session ends by itself (also if it has ended already), never after `expectEnd`. */
  onLost(report: (error: Error) => void): void;
  expectEnd(): void;
  /** Whether the session has ended by itself, and with it the lock. */
  isLost(): boolean;
}

/**
 * Opens a superuser session. Undefined if the server does not take it at the moment. Throws `unavailable` if it does
 * not know the password.
 */
export async function connectSuperuser(port: number, password: string): Promise<DirectoryLock | undefined> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'postgres',
    password,
    database: 'postgres',
    ssl: false,
    connectionTimeoutMillis: 10_000,
    application_name: 'hallpass directory lock',
  });
  let lost: Error | undefined;
  let report: ((error: Error) => void) | undefined;
  const lose = (error: Error): void => {
    if (lost !== undefined) return;
    lost = error;
    report?.(error);
  };
  // Without a handler a broken connection would end the process.
  client.on('error', lose);
  client.on('end', () => lose(new Error('the connection that holds the data directory has ended')));
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    if (isPassing(error)) return undefined;
    throw new BrokerError('unavailable', {
      detail: `the embedded Postgres on port ${port} does not let us in: ${String(error)}`,
      cause: error,
    });
  }
  return {
    client,
    onLost(given) {
      report = given;
      if (lost !== undefined) given(lost);
    },
    expectEnd() {
      report = undefined;
    },
    isLost: () => lost !== undefined,
  };
}

/** Whether an error means that the server or the connection went away, and not that it refuses. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string') return passing.has(error.code);
  return /connection (terminated|timeout|ended)|timeout expired|not queryable/i.test(error.message);
}

const tries = 40;
const stepMs = 50;

/**
 * Takes the lock for as long as the session lives. The server frees it when its holder dies, a moment later:
 * hence some patience (2 s). Throws `unavailable` if somebody else keeps it.
 */
export async function takeLock(
  lock: DirectoryLock,
  { clock, root }: { clock: Clock; root: string },
): Promise<void> {
  for (let n = 0; n < tries; n += 1) {
    const { rows } = await lock.client.query<{ taken: boolean }>('select pg_try_advisory_lock($1) as taken', [
      lockKey,
    ]);
    if (rows[0]?.taken === true) return;
    await pause(clock, stepMs);
  }
  throw new BrokerError('unavailable', {
    detail: `another broker is using ${root}: stop it, or give this one its own HALLPASS_DATA_DIR`,
  });
}
