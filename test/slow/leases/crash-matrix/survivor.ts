import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { compose } from '../../../../src/compose.ts';
import { engines } from '../../../../src/engines/engines.ts';
import { type CompiledContract, compileContract } from '../../../../src/http/compiled-contract.ts';
import type { FakeClock } from '../../../support/fake-clock.ts';
import { testConfig } from '../../../support/test-config.ts';

/** A replica in the process of the test, which does what a background worker does when the test says so. */
export interface Survivor {
  url: string;
  /** Finishes rotations of admin passwords, and ends the leases that are due. A worker does both every few seconds. */
  sweep(): Promise<void>;
  /** Compares every target with the leases, as a worker does every minute. */
  compare(): Promise<void>;
  close(): Promise<void>;
}

export interface SurvivorSettings {
  databaseUrl: string;
  clock: FakeClock;
}

let compiled: CompiledContract | undefined;

/** Starts a replica that knows nothing but the database. */
export async function startSurvivor({ databaseUrl, clock }: SurvivorSettings): Promise<Survivor> {
  compiled ??= compileContract();
  const broker = await compose(testConfig(databaseUrl), { clock, engines, contract: compiled });
  await broker.worker.register();
  const server = createServer({ keepAliveTimeout: 75_000 }, broker.app);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async sweep() {
      await run('rotate-target-passwords');
      await broker.worker.endLeases();
    },
    compare: () => run('reconcile-targets'),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await broker.close();
    },
  };

  async function run(job: string): Promise<void> {
    const outcome = await broker.worker.runNow(job, clock.now());
    if (outcome !== 'done') throw new Error(`the job ${job} ended with ${outcome}`);
  }
}
