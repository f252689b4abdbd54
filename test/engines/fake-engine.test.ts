import { FakeClock } from '../support/fake-clock.ts';
import { testContract } from './contract.ts';
import { createFakeEngine, createFakeServer, fakeTargetOptions } from './fake-engine.ts';

testContract('the fake', async () => ({
  engine: createFakeEngine(createFakeServer('admin')),
  options: fakeTargetOptions(new FakeClock()),
  mappings: [{ roles: ['reader'] }, { roles: ['writer'] }],
  missing: { roles: ['nothing'] },
}));
