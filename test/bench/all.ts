import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fail, print } from './figures.ts';

/** Runs every benchmark, one after another. Ends with 1 if one of them found wrong behaviour. */
const parts = ['mint', 'half', 'introspect', 'proofs', 'exchange', 'age', 'shed', 'sweep', 'cache'];

for (const part of parts) {
  print(`\n## ${part}`);
  const startedAt = performance.now();
  const script = join(import.meta.dirname, `${part}.ts`);
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', script], { stdio: 'inherit' });
  if (status !== 0) fail(`bench:${part} ended with ${status}`);
  print(`(${((performance.now() - startedAt) / 1000).toFixed(0)} s)`);
}
