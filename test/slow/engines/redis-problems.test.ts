import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { failure } from '../../engines/contract.ts';
import { adminPrivileges, isRedisMissing, type RedisServer, startRedis } from '../../engines/redis/server.ts';
import { useServer } from '../../engines/redis/subject.ts';

const mapping = { rules: '~orders:* +get' };

describe.skipIf(isRedisMissing)('the problems of a Redis target', () => {
  let server: RedisServer;
  let target: Target;
  beforeAll(async () => {
    server = await startRedis();
    ({ target } = useServer(server));
  });
  const find = async (rules: string): Promise<string[]> =>
    (await target.findProblems([{ rules }])).map(({ problem }) => problem);
  /** Runs a statement as an admin of the target would. */
  const run = (statement = ''): Promise<unknown> => {
    const [name = '', ...args] = statement.split(' ');
    return server.asRoot(name, ...args);
  };
  const users = async (): Promise<unknown> => server.asRoot('ACL', 'USERS');

  it('are none for the admin account of the documentation', async () => {
    const file = join(import.meta.dirname, '../../../docs/engines-redis.md');
    expect(readFileSync(file, 'utf8')).toContain(`resetchannels -@all ${adminPrivileges.join(' ')}\n`);
    expect(await target.findProblems([mapping])).toEqual([]);
  });

  it.each(
    adminPrivileges,
  )('include an admin without %s, with the statement that gives it', async (privilege) => {
    const command = privilege.slice(1);
    await server.asRoot('ACL', 'SETUSER', 'hallpass', `-${command}`);
    const problems = await target.findProblems([mapping]);
    expect(problems).toEqual([
      {
        problem: `the admin account hallpass may not run ${command}`,
        statement: `ACL SETUSER hallpass +${command}`,
      },
    ]);
    for (const { statement } of problems) await run(statement);
    expect(await target.findProblems([mapping])).toEqual([]);
  });

  it.each([
    ['setuser', 'create'],
    ['getuser', 'disable'],
    ['deluser', 'clean up'],
    ['users', 'list'],
  ] as const)('are in the error of a call without acl|%s', async (command, call) => {
    const { accounts } = useServer(server);
    const account = await accounts.make();
    await server.asRoot('ACL', 'SETUSER', 'hallpass', `-acl|${command}`);
    const calls = {
      create: () => target.create(accounts.terms()),
      disable: () => target.disableAccess(account.name),
      'clean up': () => target.cleanUp(account.name),
      list: () => target.listAccounts(account.name),
    };
    const error: unknown = await calls[call]().catch((reason: unknown) => reason);
    expect(error).toEqual(failure('missing-privilege'));
    const { statement } = error as { statement: string };
    expect(statement).toBe(`ACL SETUSER hallpass +acl|${command}`);
    await run(statement);
    await calls[call]();
  });

  it('include a user default without a password, with the statement that switches it off', async () => {
    await server.asRoot('ACL', 'SETUSER', 'default', 'on', 'nopass', '+get');
    const [problem, ...others] = await target.findProblems([mapping]);
    expect(problem?.problem).toBe('the user default needs no password');
    expect(others).toEqual([]);
    await run(problem?.statement);
    expect(await target.findProblems([mapping])).toEqual([]);
    await server.asRoot('ACL', 'SETUSER', 'default', 'reset');
  });

  it('include every command and category that does not exist, each once', async () => {
    expect(await find('~a +get +nosuch +nosuch +client|nosuch (~b +NoSuch.Too +@nosuch)')).toEqual([
      'the command nosuch does not exist',
      'the command client|nosuch does not exist',
      'the command nosuch.too does not exist',
      'the category @nosuch does not exist',
    ]);
  });

  it('include patterns that the server does not take', async () => {
    expect(await find('~* ~a +get')).toEqual([
      expect.stringMatching(/^the server refuses the rules "~\* ~a \+get": /),
    ]);
  });

  it.each([
    ['@slow', /permit acl\|deluser, .* others: no account may have commands of @admin; add -@admin/],
    ['@connection', /permit client\|kill, .*client\|pause/],
    ['client', /permit client\|kill, /],
    ['@write', /permit migrate: it sends data/],
    ['@write', /permit flushall: add -flushall at the end, or \+flushall/],
    ['@keyspace', /permit swapdb: /],
    ['@write', /permit function\|delete, .*: no account may have commands of @scripting/],
    ['@keyspace', /permit restore: /],
    ['role', /permit role: no account may have commands of @admin/],
    ['client|list', /permit client\|list: no account/],
    ['lastsave|x', /permit lastsave: no account/],
  ])('include +%s, because of what it permits', async (rule, problem) => {
    expect((await find(`~* +${rule}`)).join('\n')).toMatch(problem);
    expect((await find(`~* +get (~x +${rule})`)).join('\n')).toMatch(problem);
  });

  it('are gone when the rules end as the text says', async () => {
    const rules =
      '~* +@write +@connection +@read +@slow -@admin -@scripting -migrate -flushall -flushdb -swapdb -restore';
    expect(await find(rules)).toEqual([]);
    expect(await find('~* +@write +@connection +@read +@slow -@dangerous -@scripting')).toEqual([]);
    expect(await find('~* +flushall +flushdb +swapdb +restore +flushall|async')).toEqual([]);
    expect(await find('~* +@write -@admin -@scripting -migrate -flushdb -swapdb -restore')).toEqual([
      expect.stringMatching(/permit flushall: add -flushall/),
    ]);
  });

  it('of all categories together name no command that accounts may have', async () => {
    const categories = (await server.asRoot('ACL', 'CAT')) as string[];
    const rest = '-@admin -@scripting -migrate -flushall -flushdb -swapdb -restore';
    const mappings = categories
      .filter((category) => !['admin', 'dangerous', 'scripting'].includes(category))
      .map((category) => ({ rules: `~* +@${category} ${rest}` }));
    expect(mappings.length).toBeGreaterThan(15);
    expect(await target.findProblems(mappings)).toEqual([]);
  });

  it('leave no user behind', async () => {
    const before = await users();
    await find('~* +@slow');
    await find('~a +nosuch');
    await find('~* ~a +get');
    expect(await users()).toEqual(before);
  });

  it('of a mapping that this engine does not have are a refusal', async () => {
    for (const rules of ['+acl|setuser', '+get >pw', '']) {
      await expect(target.findProblems([{ rules }])).rejects.toEqual(failure('refused'));
    }
  });
});
