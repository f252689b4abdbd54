import { Socket } from 'node:net';
import { createSystemRandom } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testContract } from './contract.ts';
import { createFakeEngine, createFakeServer } from './fake-engine.ts';

testContract('the fake', async () => ({
  engine: createFakeEngine(createFakeServer('admin')),
  options: {
    connection: {
      host: 'target.test',
      port: 4321,
      username: 'admin',
      password: 'admin',
      tls: { mode: 'off' },
      replicas: [],
      ownedObjects: 'keep',
    },
    createSocket: () => new Socket(),
    maxConnections: 4,
    timeoutMs: 1_000,
    clock: new FakeClock(),
    random: createSystemRandom(),
  },
  mappings: [{ roles: ['reader'] }, { roles: ['writer'] }],
  missing: { roles: ['nothing'] },
}));
