import { randomBytes } from 'node:crypto';
import { type Kind, kinds } from '../../chaos-checker/history.ts';
import { finishAll } from '../../support/at-end.ts';
import { type PlantName, plantNames } from './plants.ts';
import { hasFailed, report } from './report.ts';
import { runChaos } from './run.ts';

const { CHAOS_SECONDS = '300', CHAOS_SEED, CHAOS_PLANT = '' } = process.env;

const seldom: ReadonlySet<Kind> = new Set<Kind>([
  'disable',
  'enable',
  'issue-secret',
  'withdraw',
  'rotate',
  'compromise',
]);

/** Returns how often operations of each kind must succeed in a run with a fixed duration. */
const leastSuccesses = (seconds: number): Record<Kind, number> =>
  Object.fromEntries(
    kinds.map((kind) => [kind, Math.max(1, Math.floor(seconds / (seldom.has(kind) ? 30 : 15)))]),
  ) as Record<Kind, number>;

/** Parses `CHAOS_PLANT`: the names of the faults to plant, separated by commas, or `all`. */
function plantsOf(names: string): PlantName[] {
  if (names === 'all') return plantNames;
  return names
    .split(',')
    .filter((name) => name !== '')
    .map((name) => {
      const known = plantNames.find((one) => one === name);
      if (known === undefined)
        throw new Error(`CHAOS_PLANT must be all, or some of ${plantNames.join(', ')}`);
      return known;
    });
}

const seed = CHAOS_SEED ?? randomBytes(4).toString('hex');
process.stdout.write(`chaos for ${CHAOS_SECONDS} s, CHAOS_SEED=${seed}\n\n`);
try {
  const seconds = Number(CHAOS_SECONDS);
  const run = await runChaos({
    leastSeconds: seconds,
    limitSeconds: seconds,
    seed,
    successes: leastSuccesses(seconds),
    plants: plantsOf(CHAOS_PLANT),
  });
  process.stdout.write(report(run));
  process.exitCode = hasFailed(run) ? 1 : 0;
} finally {
  await finishAll();
}
