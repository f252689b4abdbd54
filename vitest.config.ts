import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { findPureTests } from './test/support/pure-tests.ts';
import { SlowestFirst } from './test/support/slowest-first.ts';

const slow = ['test/slow/**/*.test.ts'];
const pure = findPureTests(import.meta.dirname);
const globalSetup = ['test/support/global-setup.ts'];

export default defineConfig({
  test: {
    pool: 'forks',
    isolate: false,
    // At least three, because tests spend much of their time waiting for databases and child processes.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    // Only for a test that hangs: no test comes near it, even on a busy machine.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
    setupFiles: ['test/support/setup.ts'],
    sequence: { sequencer: SlowestFirst },
    projects: [
      { extends: true, test: { name: 'pure', include: pure, exclude: slow } },
      {
        extends: true,
        test: {
          name: 'quick',
          include: ['test/**/*.test.ts'],
          exclude: [...slow, ...pure],
          globalSetup,
        },
      },
      { extends: true, test: { name: 'slow', include: slow, globalSetup } },
      // Long, and they judge time: started by a person, on a quiet machine.
      { extends: true, test: { name: 'campaign', include: ['test/**/*.campaign.ts'], globalSetup } },
    ],
  },
});
