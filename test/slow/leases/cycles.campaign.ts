import { it } from 'vitest';
import { expectNothingLeft } from './cycles.ts';

const { CYCLES = '10000' } = process.env;

it(`${CYCLES} leases, one after another, leave no row in the catalogues of their target`, async () => {
  await expectNothingLeft(Number(CYCLES));
}, 7_200_000);
