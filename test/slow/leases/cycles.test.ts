import { it } from 'vitest';
import { expectNothingLeft } from './cycles.ts';

it('100 leases, one after another, leave no row in the catalogues of their target', async () => {
  await expectNothingLeft(100);
});
