import { setTimeout as sleep } from 'node:timers/promises';
import { type OwnServer, startOwnServer } from '../../cluster/own-server.ts';
import {
  clusterEnv,
  generateBootstrapKey,
  type Replica,
  type ReplicaEnv,
  startReplica,
} from '../../cluster/replica.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { type PostgresSubject, preparePostgres } from '../../engines/postgres/subject.ts';
import { freePort } from '../../support/free-port.ts';
import type { Target } from './recorder.ts';

/** A place for one replica, in which processes replace each other. */
export interface Slot extends Target {
  port: number;
  process: Replica | undefined;
}

export interface ChaosCluster {
  server: OwnServer;
  /** The target of leases, on a server that no fault stops. */
  target: PostgresSubject;
  slots: readonly Slot[];
  bootstrapKey: string;
  /** The output of processes that ended unexpectedly. */
  deaths: string[];
  /** Starts a process in an empty slot. Resolves when it listens. Retries while PostgreSQL is down. */
  start(slot: Slot, where: 'same port' | 'another port'): Promise<void>;
  /** Removes the process from its slot; the caller ends it. */
  take(slot: Slot): Replica | undefined;
}

const replicas = 3;
const retryMs = 100;
/**
 * The number of attempts. Each takes as long as a process takes to start, so this is enough for a PostgreSQL that
 * restarts on a busy machine.
 */
const mostTries = 1_000;

async function startPersistently(
  env: ReplicaEnv,
  firstPort: number,
): Promise<{ replica: Replica; port: number }> {
  let port = firstPort;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { replica: await startReplica({ ...env, HALLPASS_PORT: String(port) }), port };
    } catch (error) {
      if (attempt === mostTries)
        throw new Error(`a replica did not start in ${mostTries} tries`, { cause: error });
      // The database is down, or the port is in use.
      await sleep(retryMs);
      port = await freePort();
    }
  }
}

/** Starts a separate PostgreSQL and replicas of the built broker in the role `all`. */
export async function startChaosCluster(): Promise<ChaosCluster> {
  await ensureBuilt();
  const server = await startOwnServer();
  const target = await preparePostgres((await startOwnServer()).adminUrl);
  const bootstrapKey = generateBootstrapKey();
  const env = {
    ...clusterEnv(server.applicationUrl, bootstrapKey),
    HALLPASS_SHUTDOWN_SECONDS: '5',
    HALLPASS_TARGET_ALLOW: '127.0.0.0/8',
  };
  const deaths: string[] = [];
  const start: ChaosCluster['start'] = async (slot, where) => {
    const wanted = where === 'same port' ? slot.port : await freePort();
    const { replica, port } = await startPersistently(env, wanted);
    Object.assign(slot, { port, url: replica.url, process: replica });
    void replica.exited.then(({ code, signal, stderr }) => {
      if (slot.process === replica) deaths.push(`replica ${slot.replica}: ${code ?? signal}\n${stderr}`);
    });
  };
  const slots = await Promise.all(
    Array.from({ length: replicas }, async (_, replica): Promise<Slot> => {
      const port = await freePort();
      return { replica, port, url: `http://127.0.0.1:${port}`, process: undefined };
    }),
  );
  // The first replica starts alone, because it creates the first keys and the first admin.
  for (const slot of slots) await start(slot, 'same port');
  return {
    server,
    target,
    slots,
    bootstrapKey,
    deaths,
    start,
    take(slot) {
      const { process } = slot;
      slot.process = undefined;
      return process;
    },
  };
}
