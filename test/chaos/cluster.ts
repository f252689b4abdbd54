import { setTimeout as sleep } from 'node:timers/promises';
import { type OwnServer, startOwnServer } from '../cluster/own-server.ts';
import {
  clusterEnv,
  generateBootstrapKey,
  type Replica,
  type ReplicaEnv,
  startReplica,
} from '../cluster/replica.ts';
import { ensureBuilt } from '../e2e/support/build.ts';
import { freePort } from '../support/free-port.ts';
import type { Target } from './recorder.ts';

/** A place for one replica, whichever process is in it. */
export interface Slot extends Target {
  port: number;
  process: Replica | undefined;
}

export interface ChaosCluster {
  server: OwnServer;
  slots: readonly Slot[];
  bootstrapKey: string;
  /** What processes said that ended though nobody ended them. */
  deaths: string[];
  /** Puts a process into an empty slot; resolves when it listens. Tries again while PostgreSQL is down. */
  start(slot: Slot, where: 'same port' | 'another port'): Promise<void>;
  /** Takes the process out of its slot, to be ended by whoever asks. */
  take(slot: Slot): Replica | undefined;
}

const replicas = 3;
const retryMs = 100;
const mostTries = 300;

async function startPersistently(
  env: ReplicaEnv,
  firstPort: number,
): Promise<{ replica: Replica; port: number }> {
  let port = firstPort;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return { replica: await startReplica({ ...env, HALLPASS_PORT: String(port) }), port };
    } catch (error) {
      if (attempt === mostTries) throw error;
      // No database, or somebody else has the port by now.
      await sleep(retryMs);
      port = await freePort();
    }
  }
}

/** A PostgreSQL of its own and replicas of the built broker, each of which does everything. */
export async function startChaosCluster(): Promise<ChaosCluster> {
  await ensureBuilt();
  const server = await startOwnServer();
  const bootstrapKey = generateBootstrapKey();
  const env = { ...clusterEnv(server.applicationUrl, bootstrapKey), HALLPASS_SHUTDOWN_SECONDS: '5' };
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
  // The first alone: it makes the first keys and the first admin.
  for (const slot of slots) await start(slot, 'same port');
  return {
    server,
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
