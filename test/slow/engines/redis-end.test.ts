import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { beforeAll, describe, expect, it } from 'vitest';
import { redis } from '../../../src/engines/redis/engine.ts';
import { endAccount, failure, newPassword, openTarget } from '../../engines/contract.ts';
import { connectTo, isRedisMissing, type RedisServer, startRedis } from '../../engines/redis/server.ts';
import { toSubject, useServer } from '../../engines/redis/subject.ts';
import { soon } from '../../engines/target-options.ts';

const rules = '~* &* +@read +@write +@connection +@pubsub +@transaction +@blocking -@dangerous -@scripting';

/** Whether the server has closed a connection. */
const isClosed = (agent: Redis): Promise<boolean> =>
  agent.call('GET', 'x').then(
    () => false,
    (error: Error) => !/NOPERM|NOAUTH/.test(error.message),
  );

describe.skipIf(isRedisMissing)('the end of an account in Redis', () => {
  let server: RedisServer;
  let target: ReturnType<typeof useServer>['target'];
  let accounts: ReturnType<typeof useServer>['accounts'];
  beforeAll(async () => {
    server = await startRedis();
    ({ target, accounts } = useServer(server));
  });
  type Account = Awaited<ReturnType<typeof accounts.make>>;
  const clientsOf = async (name: string): Promise<string[]> =>
    String(await server.asRoot('CLIENT', 'LIST'))
      .split('\n')
      .filter((line) => line.includes(` user=${name} `));

  /** What an agent may do with a connection to make it hard to end. */
  const states: [what: string, enter: (agent: Redis, account: Account) => unknown][] = [
    ['blocked', (agent) => agent.blpop('nothing', 0)],
    ['waiting for replicas', (agent) => agent.call('WAIT', '9', '0')],
    ['subscribed', (agent) => agent.subscribe('channel')],
    ['in a transaction', (agent) => agent.call('MULTI')],
    ['in a transaction that watches a key', (agent) => agent.watch('key').then(() => agent.call('MULTI'))],
    ['reading no replies', (agent) => void agent.call('CLIENT', 'REPLY', 'OFF').catch(() => {})],
    ['with the name of the broker', (agent) => agent.client('SETNAME', 'hallpass')],
    [
      'tracking keys for another client',
      async (agent) => agent.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', String(await agent.client('ID'))),
    ],
    ['in another database', (agent) => agent.select(1)],
    [
      'new, after RESET',
      (agent, { name, password }) => agent.call('RESET').then(() => agent.auth(name, password)),
    ],
  ];

  it.each(states)('ends a session that is %s', async (_what, enter) => {
    const account = await accounts.make({ mappings: [{ rules }] });
    const agent = await connectTo(server.port, account);
    Promise.resolve(enter(agent, account)).catch(() => {});
    await expect.poll(() => clientsOf(account.name)).toEqual([expect.not.stringContaining('cmd=hello ')]);
    await target.disableAccess(account.name);
    await target.endSessions(account.name);
    expect(await clientsOf(account.name)).toEqual([]);
    expect(await isClosed(agent)).toBe(true);
    expect(await target.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
  });

  it('takes the privileges of open sessions at once, before they end', async () => {
    const account = await accounts.make({ mappings: [{ rules: '~a &c +get +publish (~b +set)' }] });
    const agent = await connectTo(server.port, account);
    expect(await agent.get('a')).toBeNull();
    await target.disableAccess(account.name);
    for (const call of [agent.get('a'), agent.set('b', 'x'), agent.publish('c', 'x')]) {
      await expect(call).rejects.toThrow(/NOPERM/);
    }
    await expect(connectTo(server.port, account)).rejects.toThrow();
    await endAccount(target, account.name);
  });

  it('is not said of an account that can still log in', async () => {
    const account = await accounts.make();
    await expect(target.endSessions(account.name)).rejects.toEqual(failure('refused'));
    await endAccount(target, account.name);
  });

  it('holds against an agent that logs in again and again', async () => {
    const account = await accounts.make({ mappings: [{ rules }] });
    let isOver = false;
    let logins = 0;
    let refusals = 0;
    const storm = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const agent = await connectTo(server.port, account).catch(() => undefined);
        if (agent === undefined) refusals += 1;
        else logins += 1;
        void agent?.blpop('nothing', 0).catch(() => {});
      }
    });
    await expect.poll(() => logins).toBeGreaterThan(20);
    await endAccount(target, account.name);
    const before = logins;
    expect(await clientsOf(account.name)).toEqual([]);
    await expect.poll(() => refusals).toBeGreaterThan(50);
    isOver = true;
    await Promise.all(storm);
    // One login may have been answered before the end and noticed afterwards by each of the eight.
    expect(logins - before).toBeLessThanOrEqual(8);
    expect(await clientsOf(account.name)).toEqual([]);
  });

  it('counts for a session that has logged in as another account', async () => {
    const [ended, other] = [
      await accounts.make({ mappings: [{ rules }] }),
      await accounts.make({ mappings: [{ rules }] }),
    ];
    const agent = await connectTo(server.port, ended);
    await agent.auth(other.name, other.password);
    await endAccount(target, ended.name);
    expect(await isClosed(agent)).toBe(false);
    await endAccount(target, other.name);
    expect(await isClosed(agent)).toBe(true);
  });

  it('comes for a hundred accounts at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => accounts.make()));
    const agents = await Promise.all(all.map((account) => connectTo(server.port, account)));
    await Promise.all(all.map(({ name }) => endAccount(target, name)));
    expect((await Promise.all(agents.map(isClosed))).every(Boolean)).toBe(true);
    expect(await target.listAccounts(accounts.prefix)).toEqual([]);
  });

  it('makes no user of a name that never existed', async () => {
    const before = await server.asRoot('ACL', 'LIST');
    await target.disableAccess(`${accounts.prefix}never`);
    expect(await server.asRoot('ACL', 'LIST')).toEqual(before);
  });
});

describe.skipIf(isRedisMissing)('a Redis server whose connections an agent has taken', () => {
  it('lets a broker that is connected end them, and no other', async () => {
    const server = await startRedis({ lines: ['maxclients 30'] });
    const { target, accounts } = useServer(server);
    const account = await accounts.make();
    const open = async (): Promise<Redis[]> => {
      const agent = await connectTo(server.port, account).catch(() => undefined);
      return agent === undefined ? [] : [agent, ...(await open())];
    };
    const agents = await open();
    expect(agents.length).toBeGreaterThan(20);
    await expect(useServer(server).target.disableAccess(account.name)).rejects.toEqual(
      failure('unreachable'),
    );
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBe(agents.length);
    expect(await useServer(server).target.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
  });
});

describe.skipIf(isRedisMissing)('a Redis server that starts again', () => {
  it('has no account whose access was taken, although others had stored it', async () => {
    const server = await startRedis();
    const { target, accounts } = useServer(server);
    const [disabled, removed, active] = [await accounts.make(), await accounts.make(), await accounts.make()];
    await server.asRoot('ACL', 'SAVE');
    await target.disableAccess(removed.name);
    await target.cleanUp(removed.name);
    await target.disableAccess(disabled.name);
    await server.restart();
    const left = await target.listAccounts(accounts.prefix);
    expect(left.map(({ name, canLogIn }) => [name, canLogIn])).toEqual([
      [disabled.name, false],
      [active.name, true],
    ]);
    await expect(target.holdSession(disabled)).rejects.toEqual(failure('login-refused'));
    await (await target.holdSession(active)).close();
  });

  it('has no account at all if it has no ACL file, and ends those that it has', async () => {
    const server = await startRedis({ hasAclFile: false });
    const { target, accounts, subject } = useServer(server);
    expect(await target.findProblems(subject.mappings)).toEqual([]);
    await accounts.make();
    const ended = await accounts.make();
    expect(await endAccount(target, ended.name)).toEqual({ isGone: true, ownedObjects: [] });
    await server.restart();
    expect(await target.listAccounts(accounts.prefix)).toEqual([]);
  });

  it('has the new password of the admin account', async () => {
    const server = await startRedis();
    const { target } = useServer(server);
    const password = newPassword();
    await target.rotateAdminCredential(soon(password));
    await server.restart();
    await target.checkHealth();
    await expect(useServer(server).target.checkHealth()).rejects.toEqual(failure('login-refused'));
    await useServer(server, { password }).target.checkHealth();
  });

  it('would have the old password without an ACL file, so the change is refused', async () => {
    const server = await startRedis({ hasAclFile: false });
    const { target } = useServer(server);
    await expect(target.rotateAdminCredential(soon(newPassword()))).rejects.toEqual(failure('refused'));
    await useServer(server).target.checkHealth();
  });

  it('could bring an account back while its end cannot be stored, so the end fails and is repeated', async () => {
    const server = await startRedis();
    const { target, accounts } = useServer(server);
    const account = await accounts.make();
    await server.asRoot('ACL', 'SAVE');
    const file = join(server.directory, 'users.acl');
    renameSync(file, `${file}.kept`);
    // A directory in place of the file: the server cannot replace it, not even as root.
    mkdirSync(join(file, 'full'), { recursive: true });
    const error: unknown = await target.disableAccess(account.name).catch((reason: unknown) => reason);
    expect(error).toEqual(failure('refused'));
    expect(String(error)).toContain('save the ACLs');
    await expect(target.cleanUp(account.name)).rejects.toEqual(failure('refused'));
    await expect(target.cleanUp(account.name)).rejects.toEqual(failure('refused'));
    rmSync(file, { recursive: true });
    renameSync(`${file}.kept`, file);
    chmodSync(file, 0o600);
    expect(readFileSync(file, 'utf8')).toContain(account.name);
    expect(await target.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
    expect(readFileSync(file, 'utf8')).not.toContain(account.name);
  });
});

describe.skipIf(isRedisMissing)('a Redis target with several servers', () => {
  it('takes access on each that it reaches, and fails as long as one is missing', async () => {
    const [primary, replica] = [await startRedis(), await startRedis()];
    const { username, password } = primary.admin;
    await replica.asRoot('ACL', 'SETUSER', username, `>${password}`);
    const subject = toSubject(primary, [replica]);
    const options = { ...subject.options, timeoutMs: 500 };
    const target = openTarget(redis, options);
    const { accounts } = useServer(primary);
    const account = accounts.terms();
    await target.create(account);
    const agents = [await connectTo(primary.port, account), await connectTo(replica.port, account)];
    await replica.whileStopped(async () => {
      await expect(target.disableAccess(account.name)).rejects.toEqual(failure('timed-out'));
      const found = await accounts.find(account.name);
      expect(found?.canLogIn).toBe(false);
    });
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBe(2);
    expect(await Promise.all(agents.map(isClosed))).toEqual([true, true]);
    await replica.asRoot('ACL', 'SETUSER', account.name);
    expect(await target.listAccounts(account.name)).toHaveLength(1);
    await target.cleanUp(account.name);
    expect(await target.listAccounts(account.name)).toEqual([]);
    await replica.asRoot('SHUTDOWN', 'NOSAVE').catch(() => {});
    await expect(target.create(accounts.terms())).rejects.toEqual(failure('unreachable'));
    expect(await useServer(primary).target.listAccounts(accounts.prefix)).toEqual([]);
    await expect(target.disableAccess(account.name)).rejects.toEqual(
      expect.objectContaining({ detail: expect.stringMatching(`^127.0.0.1:${replica.port}: `) }),
    );
  });

  it('gets the new admin password on each, or keeps the old one on each', async () => {
    const [primary, replica] = [await startRedis(), await startRedis()];
    const { username, password } = primary.admin;
    await replica.asRoot('ACL', 'SETUSER', username, 'resetpass', `>${password}`);
    const target = openTarget(redis, toSubject(primary, [replica]).options);
    await replica.asRoot('ACL', 'SETUSER', username, '-acl|setuser');
    await expect(target.rotateAdminCredential(soon(newPassword()))).rejects.toEqual(
      failure('missing-privilege'),
    );
    for (const server of [primary, replica]) await connectTo(server.port, { name: username, password });
    await replica.asRoot('ACL', 'SETUSER', username, '+acl|setuser');
    const another = newPassword();
    await target.rotateAdminCredential(soon(another));
    for (const server of [primary, replica]) {
      await connectTo(server.port, { name: username, password: another });
      await expect(connectTo(server.port, { name: username, password })).rejects.toThrow();
    }
  });
});
