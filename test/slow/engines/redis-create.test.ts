import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { type createAccounts, endAccount, failure, newPassword, openTarget } from '../../engines/contract.ts';
import {
  connectTo,
  isRedisMissing,
  type RedisServer,
  recordSockets,
  startRedis,
} from '../../engines/redis/server.ts';
import { toSubject, useServer } from '../../engines/redis/subject.ts';
import { soon } from '../../engines/target-options.ts';

describe.skipIf(isRedisMissing)('an account in Redis', () => {
  let server: RedisServer;
  let target: Target;
  let accounts: ReturnType<typeof createAccounts>;
  beforeAll(async () => {
    // Without the engine's own rule, each selector of such a server would have all channels.
    server = await startRedis({ lines: ['acl-pubsub-default allchannels'] });
    ({ target, accounts } = useServer(server));
  });
  const list = async (of = server): Promise<string[]> => (await of.asRoot('ACL', 'LIST')) as string[];

  it('may do what its mapping says, and nothing else', async () => {
    const account = await accounts.make({
      mappings: [{ rules: '~orders:* %R~stock:* &news:* +get +set +publish' }],
    });
    const agent = await connectTo(server.port, account);
    expect(await agent.set('orders:1', 'a')).toBe('OK');
    expect(await agent.get('stock:1')).toBeNull();
    expect(await agent.publish('news:1', 'a')).toBe(0);
    const refused = [
      agent.set('stock:1', 'a'),
      agent.get('other'),
      agent.del('orders:1'),
      agent.publish('other', 'a'),
      agent.call('ACL', 'WHOAMI'),
      agent.call('ACL', 'SETUSER', account.name, 'nopass'),
      agent.ping(),
    ];
    for (const result of await Promise.allSettled(refused)) {
      expect(result).toEqual({
        status: 'rejected',
        reason: expect.objectContaining({ message: expect.stringContaining('NOPERM') }),
      });
    }
    await endAccount(target, account.name);
  });

  it('has the commands of each mapping only with the keys and channels of that mapping', async () => {
    const mappings = [{ rules: '~a:* +get +publish' }, { rules: '~b:* &c:* +set +publish (~d:* +del)' }];
    const account = await accounts.make({ mappings });
    const agent = await connectTo(server.port, account);
    expect(await agent.get('a:1')).toBeNull();
    expect(await agent.set('b:1', 'x')).toBe('OK');
    expect(await agent.del('d:1')).toBe(0);
    expect(await agent.publish('c:1', 'x')).toBe(0);
    for (const call of [
      agent.set('a:1', 'x'),
      agent.get('b:1'),
      agent.del('b:1'),
      agent.publish('other', 'x'),
    ]) {
      await expect(call).rejects.toThrow(/NOPERM/);
    }
    await endAccount(target, account.name);
  });

  it('leaves a user of the same name as it was', async () => {
    const { name, ...terms } = accounts.terms();
    await server.asRoot('ACL', 'SETUSER', name, 'on', 'nopass', '~x', '+get');
    const before = await list();
    await expect(target.create({ name, ...terms })).rejects.toEqual(failure('account-exists'));
    expect(await list()).toEqual(before);
    await endAccount(target, name);
  });

  it('is made by one of several brokers at most, with the password of that one', async () => {
    for (let round = 0; round < 8; round += 1) {
      const { name, ...terms } = accounts.terms();
      const rivals = Array.from({ length: 3 }, () => useServer(server).target);
      const passwords = rivals.map(() => newPassword());
      const results = await Promise.allSettled(
        rivals.map((rival, i) => rival.create({ name, ...terms, password: passwords[i] ?? '' })),
      );
      const winners = results.filter(({ status }) => status === 'fulfilled');
      expect(winners.length).toBeLessThanOrEqual(1);
      for (const [i, { status }] of results.entries()) {
        const login = target.holdSession({ name, password: passwords[i] ?? '' });
        if (status === 'fulfilled') await (await login).close();
        else await expect(login).rejects.toEqual(failure('login-refused'));
      }
      await endAccount(target, name);
      await Promise.all(rivals.map((rival) => rival.close()));
    }
  });

  it('is not made after its end, also if a stopped server reads the commands later', async () => {
    const hasty = useServer(server, { timeoutMs: 300 });
    const account = accounts.terms();
    await hasty.target.checkHealth();
    await server.whileStopped(async () => {
      await expect(hasty.target.create(account)).rejects.toEqual(failure('timed-out'));
      await expect(hasty.target.disableAccess(account.name)).rejects.toEqual(failure('timed-out'));
    });
    await endAccount(target, account.name);
    expect(await accounts.find(account.name)).toBeUndefined();
  });

  it.each([
    ['the first', '#', false],
    ['the second', '!', undefined],
  ] as const)('cannot log in if %s step of making it runs after its end', async (_what, sign, found) => {
    const recorded = recordSockets(toSubject(server).options.createSocket);
    const maker = useServer(server, { createSocket: recorded.createSocket });
    const account = accounts.terms();
    await maker.target.create(account);
    await endAccount(target, account.name);
    const step = recorded
      .commands()
      .find(([, verb, of, first]) => verb === 'SETUSER' && of === account.name && first?.startsWith(sign));
    const [name = '', ...args] = step ?? [];
    await server
      .asRoot(name, ...args)
      .catch((error: Error) => expect(error.message).toMatch(/password you are trying to remove/));
    expect((await accounts.find(account.name))?.canLogIn).toBe(found);
    await expect(target.holdSession(account)).rejects.toEqual(failure('login-refused'));
    await endAccount(target, account.name);
  });

  it('is made on no server if it cannot be made on one', async () => {
    const other = await startRedis({ lines: ['rename-command LPOS no-such'] });
    const { username, password } = server.admin;
    await other.asRoot('ACL', 'SETUSER', username, `>${password}`);
    const subject = toSubject(server, [other]);
    const both = openTarget(subject.engine, subject.options);
    const account = accounts.terms();
    const taken = { ...account, name: `${account.name}_taken` };
    await other.asRoot('ACL', 'SETUSER', taken.name);
    const before = [await list(), await list(other)];
    await other.asRoot('ACL', 'SETUSER', username, '-acl|getuser');
    await expect(both.create(account)).rejects.toEqual(failure('missing-privilege'));
    await other.asRoot('ACL', 'SETUSER', username, '+acl|getuser');
    await expect(both.create(taken)).rejects.toEqual(failure('account-exists'));
    await expect(both.create({ ...account, mappings: [{ rules: '~a +no.such' }] })).rejects.toEqual(
      expect.objectContaining({ problem: 'refused', detail: expect.stringContaining(`127.0.0.1:`) }),
    );
    expect([await list(), (await list(other)).length]).toEqual([before[0], before[1]?.length]);
  });

  it('has a password that the server never sees', async () => {
    await server.asRoot('CONFIG', 'SET', 'slowlog-log-slower-than', '0');
    const recorded = recordSockets(toSubject(server).options.createSocket);
    const maker = useServer(server, { createSocket: recorded.createSocket });
    const account = await accounts.make();
    await endAccount(target, account.name);
    const other = maker.accounts.terms();
    await maker.target.create(other);
    await endAccount(maker.target, other.name);
    const another = newPassword();
    await maker.target.rotateAdminCredential(soon(another));
    expect(recorded.sent()).toContain('resetpass');
    await maker.target.rotateAdminCredential(soon(server.admin.password));
    const log = JSON.stringify([
      await server.asRoot('SLOWLOG', 'GET', '-1'),
      await server.asRoot('ACL', 'LOG'),
    ]);
    await server.asRoot('CONFIG', 'SET', 'slowlog-log-slower-than', '-1');
    expect(log).toContain('SETUSER');
    for (const secret of [account.password, other.password, another]) {
      expect(recorded.sent() + log + server.readLog()).not.toContain(secret);
    }
  });
});
