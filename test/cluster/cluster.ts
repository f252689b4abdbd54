import { ensureBuilt } from '../e2e/support/build.ts';
import { createProduction, migrate, type Production } from '../e2e/support/production.ts';
import { bootstrapKey } from '../support/broker.ts';
import { type Replica, type ReplicaEnv, startReplica } from './replica.ts';

/** Starts two processes of the built broker on one database of the test file, set up as the README says. */
export interface Cluster {
  replicas: [Replica, Replica];
  /** Runs a statement on the database, with the role of its owner. */
  query: Production['query'];
  ownerUrl: string;
  /** Starts one more process, or replaces one. */
  start(env?: ReplicaEnv): Promise<Replica>;
}

/** Its first admin has the key of the helpers in test/support. Both processes start at the same time. */
export async function startCluster(env: ReplicaEnv = {}): Promise<Cluster> {
  await ensureBuilt();
  const production = await createProduction();
  await migrate(production);
  const common = {
    ...production.env,
    HALLPASS_BOOTSTRAP_ADMIN_KEY: bootstrapKey,
    HALLPASS_RATE_LIMIT: 'off',
    HALLPASS_LOG_LEVEL: 'warn',
    ...env,
  };
  const start = (more: ReplicaEnv = {}): Promise<Replica> => startReplica({ ...common, ...more });
  const replicas = await Promise.all([start(), start()]);
  const { query, ownerUrl } = production;
  return { replicas, query, ownerUrl, start };
}

/** Whether the process is running. */
export const isRunning = ({ child }: Replica): boolean =>
  child.exitCode === null && child.signalCode === null;
