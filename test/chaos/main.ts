import { randomBytes } from 'node:crypto';
import { finishAll } from '../support/at-end.ts';
import { type PlantName, plantNames } from './plants.ts';
import { hasFailed, report } from './report.ts';
import { runChaos } from './run.ts';

const { CHAOS_SECONDS = '300', CHAOS_SEED, CHAOS_PLANT = '' } = process.env;

/** `CHAOS_PLANT`: names of faults to plant, separated by commas, or `all`. */
function plantsOf(names: string): PlantName[] {
  if (names === 'all') return plantNames;
  return names
    .split(',')
    .filter((name) => name !== '')
    .map((name) => {
      const known = plantNames.find((one) => one === name);
      if (known === undefined) throw new Error(`CHAOS_PLANT: one of ${plantNames.join(', ')}`);
      return known;
    });
}

const seed = CHAOS_SEED ?? randomBytes(4).toString('hex');
process.stdout.write(`chaos for ${CHAOS_SECONDS} s, CHAOS_SEED=${seed}\n\n`);
try {
  const run = await runChaos({ seconds: Number(CHAOS_SECONDS), seed, plants: plantsOf(CHAOS_PLANT) });
  process.stdout.write(report(run));
  process.exitCode = hasFailed(run) ? 1 : 0;
} finally {
  await finishAll();
}
