import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { isRedisMissing, startRedis } from '../../engines/redis/server.ts';
import { toSubject } from '../../engines/redis/subject.ts';

describe.skipIf(isRedisMissing)('Redis', () => {
  testContract('Redis with two replicas', async () => {
    const [primary, ...replicas] = [await startRedis(), await startRedis(), await startRedis()];
    for (const replica of replicas) {
      // All servers of a target have the same admin account.
      const { username, password } = primary.admin;
      await replica.asRoot('ACL', 'SETUSER', username, 'resetpass', `>${password}`);
      await replica.asRoot('ACL', 'SAVE');
      await replica.asRoot('REPLICAOF', '127.0.0.1', String(primary.port));
    }
    return toSubject(primary, replicas);
  });
});
