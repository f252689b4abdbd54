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
  /** Runs everything once that a background worker runs within a minute for leases and admin passwords. */
  sweep(): Promise<void>;
  /** Ends the leases that are due. */
  endLeases(): Promise<void>;
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
      // The comparison comes last, so that it shows what is left when everything else has been done.
      for (const job of ['rotate-target-passwords', 'clean-up-targets']) await run(job);
      await broker.worker.endLeases();
      await run('reconcile-targets');
      await broker.worker.endLeases();
    },
    endLeases: () => broker.worker.endLeases(),
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
