import { describe } from 'vitest';
import { testContract } from '../contract.ts';
import { isRedisMissing, startRedis } from './server.ts';
import { toSubject } from './subject.ts';

describe.skipIf(isRedisMissing)('Redis', () => {
  testContract('Redis', async () => toSubject(await startRedis()));
});
