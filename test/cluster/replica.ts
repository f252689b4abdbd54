import { randomBytes } from 'node:crypto';
import { type BrokerProcess, launch } from '../e2e/support/broker-process.ts';
import { freePort } from '../support/free-port.ts';

/** One of several broker processes on the same database. */
export interface Replica extends BrokerProcess {
  url: string;
  /** Sends SIGTERM. Resolves to the exit code when it has drained. */
  drain(): Promise<number | null>;
  /** Sends kill -9. Resolves when the process has ended. */
  kill(): Promise<void>;
}

export type ReplicaEnv = Record<string, string>;

/** Returns the configuration that all replicas of a cluster share. */
export function clusterEnv(databaseUrl: string, bootstrapKey: string): ReplicaEnv {
  return {
    DATABASE_URL: databaseUrl,
    HALLPASS_MASTER_KEY: randomBytes(32).toString('base64url'),
    HALLPASS_PUBLIC_URL: 'https://hallpass.test',
    HALLPASS_BOOTSTRAP_ADMIN_KEY: bootstrapKey,
    HALLPASS_RATE_LIMIT: 'off',
    HALLPASS_LOG_LEVEL: 'warn',
  };
}

export const generateBootstrapKey = (): string =>
  `hpa_${randomBytes(32).toString('base64url').replaceAll('-', '_')}`;

/**
 * Starts a replica and waits until it listens. It is killed when the test file ends. The broker must be built first.
 */
export async function startReplica(env: ReplicaEnv): Promise<Replica> {
  const port = Number(env.HALLPASS_PORT ?? (await freePort()));
  const broker = launch({ ...env, HALLPASS_PORT: String(port) });
  await broker.seen('Hallpass listens on');
  return {
    ...broker,
    url: `http://127.0.0.1:${port}`,
    async drain() {
      broker.child.kill('SIGTERM');
      return (await broker.exited).code;
    },
    async kill() {
      broker.child.kill('SIGKILL');
      await broker.exited;
    },
  };
}
