import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { isRedisMissing, startRedis } from '../../engines/redis/server.ts';
import { toSubject } from '../../engines/redis/subject.ts';

describe.skipIf(isRedisMissing)('Redis', () => {
  testContract('Redis', async () => toSubject(await startRedis()));
});
