import { Client } from 'pg';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import { pause } from './wait.ts';

/** The advisory lock in the database `postgres` by which a broker holds this server: "hallpass" in ASCII. */
const lockKey = '7521412065683141491';

/** Codes of a server that is starting, stopping or full, and of its socket: the connection is retried. */
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

/** The session that holds the lock of a server. The superuser is used for nothing else. */
export interface DirectoryLock {
  client: Client;
  /** Calls `report` once if the session ends unexpectedly, also if it has ended already; never after `expectEnd`. */
  onLost(report: (error: Error) => void): void;
  expectEnd(): void;
  /** Whether the session has ended unexpectedly, and the lock with it. */
  isLost(): boolean;
}

/**
 * Opens a superuser session. Undefined if the server does not accept
 * it at the moment. Throws `unavailable` if the server refuses it.
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
  client.on('end', () => lose(new Error('the connection that holds the data directory lock ended')));
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    if (isPassing(error)) return undefined;
    throw new BrokerError('unavailable', {
      detail: `the embedded Postgres on port ${port} refuses the superuser: ${String(error)}`,
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

/** Whether an error means that the server or the connection is gone, rather than a refusal. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string') return passing.has(error.code);
  return /connection (terminated|timeout|ended)|timeout expired|not queryable/i.test(error.message);
}

const tries = 40;
const stepMs = 50;

/**
 * Takes the lock for as long as the session lasts. The server releases the lock of a process that died
 * a moment later, so this retries for 2 s. Throws `unavailable` if another broker keeps it.
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
