import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { failure } from '../contract.ts';
import { type MariadbSubject, quote, useSubject } from './subject.ts';

interface Case {
  what: string;
  /** Makes the problem. `$role` is the mapped role, `$admin` the admin account, `$other` a further role. */
  break: string;
  problem: RegExp;
  /** Undoes what the statements of the problems do not undo. */
  restore?: string;
}

/** Privileges on all databases, each of which is refused. */
const refusedGlobally: readonly string[] = [
  'super',
  'create user',
  'file',
  'reload',
  'shutdown',
  'event',
  'set user',
  'connection admin',
  'read_only admin',
  'federated admin',
  'binlog replay',
  'binlog admin',
  'replication slave',
  'replication slave admin',
  'replication master admin',
  'select',
  'update',
  'create routine',
  'lock tables',
];

const admin: Case[] = [
  ['create user', /lacks CREATE USER, so it cannot make and remove accounts/],
  ['process', /lacks PROCESS, so it cannot find the sessions of accounts/],
  ['connection admin', /lacks CONNECTION ADMIN, so it cannot end the sessions of accounts/],
].map(([privilege, problem]) => ({
  what: `an admin without ${String(privilege)}`,
  break: `revoke ${String(privilege)} on *.* from $admin`,
  problem: problem as RegExp,
}));

const cases: Case[] = [
  ...admin,
  {
    what: 'a role with all privileges',
    break: 'grant all on *.* to $role',
    problem: /^the role .* has every privilege/,
  },
  {
    what: 'an admin that cannot read the accounts',
    break: 'revoke select on mysql.* from $admin',
    problem: /lacks SELECT on the schema mysql/,
  },
  {
    what: 'an admin without ADMIN OPTION on a mapped role',
    break: 'revoke admin option for $role from $admin',
    problem: /lacks ADMIN OPTION on the role/,
  },
  {
    what: 'a role that may grant what it has on all databases',
    break: 'grant process on *.* to $role with grant option',
    problem: /may grant its privileges on \*\.\* to others \(GRANT OPTION\)/,
    restore: 'revoke process on *.* from $role',
  },
  {
    what: 'a role that may grant what it has on a database',
    break: 'grant select on app.* to $role with grant option',
    problem: /may grant its privileges on `app`\.\* to others/,
  },
  {
    what: 'a role that may grant what it has on a table',
    break: 'grant insert on app.orders to $role with grant option',
    problem: /may grant its privileges on `app`\.`orders` to others/,
    restore: 'revoke insert on app.orders from $role',
  },
  {
    what: 'a role that may grant what it has on a column',
    break: 'grant update (id) on app.orders to $role with grant option',
    problem: /may grant its privileges on `app`\.`orders` to others/,
    restore: 'revoke update (id) on app.orders from $role',
  },
  {
    what: 'a role that may grant what it has on a routine',
    break:
      'create procedure app.one() select 1; grant execute on procedure app.one to $role with grant option',
    problem: /may grant its privileges on PROCEDURE `app`\.`one` to others/,
    restore: 'drop procedure app.one',
  },
  {
    what: 'a role that makes events',
    break: 'grant event on app.* to $role',
    problem: /has EVENT on `app`\.\*/,
  },
  {
    what: 'a role that reads the accounts',
    break: 'grant select on mysql.* to $role',
    problem: /has privileges on the schema mysql/,
  },
  {
    what: 'a role with a pattern that includes the schema mysql',
    break: 'grant select on `m%l`.* to $role',
    problem: /has privileges on the schema mysql, .* \(`m%l`\.\*\)/,
  },
  {
    what: 'a role that changes a table of the schema mysql',
    break: 'grant insert on mysql.time_zone_name to $role',
    problem: /has privileges on the table `mysql`\.`time_zone_name`/,
  },
  {
    what: 'a role that reads a column of the accounts',
    break: 'grant select (Priv) on mysql.global_priv to $role',
    problem: /has privileges on the table `mysql`\.`global_priv`/,
  },
  {
    what: 'a role that may grant another role',
    break: 'grant $other to $role with admin option',
    problem: /may grant the role `other` to others \(ADMIN OPTION\)/,
    restore: 'revoke $other from $role',
  },
  {
    what: 'a role that has a role with FILE',
    break: 'grant file on *.* to $other; grant $other to $role',
    problem: /^the role `other`, which .* has, has FILE/,
    restore: 'revoke $other from $role',
  },
  {
    what: 'a role that has a role that has a role with EVENT on a database',
    break:
      "create role `fur'ther`; grant event on app.* to `fur'ther`; grant `fur'ther` to $other; grant $other to $role",
    problem: /^the role `fur'ther`, which `other` has, has EVENT on `app`\.\*/,
    restore: "revoke $other from $role; drop role `fur'ther`",
  },
  {
    what: 'what every account may do',
    break: 'grant event on app.* to public; grant file on *.* to public',
    problem: /^the role PUBLIC has FILE/,
  },
  {
    what: 'an anonymous account',
    break: "create user ''@'10.0.0.1'",
    problem: /has the anonymous account ''@'10\.0\.0\.1'/,
  },
];

/** Tests that what makes leases impossible or dangerous is found before a target is used. */
export function testProblems(start: () => Promise<MariadbSubject>): void {
  describe('the problems of a MariaDB target', () => {
    let subject: MariadbSubject;
    let target: Target;
    beforeAll(async () => {
      subject = await start();
      ({ target } = useSubject(subject));
    });
    const fill = (text: string): string =>
      text
        .replaceAll('$role', () => quote(subject.reader))
        .replaceAll('$admin', () => "'hall pass'@'%'")
        .replaceAll('$other', '`other`');

    it.each(cases)('include $what, with the statement that fixes it', async (one) => {
      await subject.asRoot('create role if not exists `other`');
      await subject.asRoot(fill(one.break));
      // A session keeps the global privileges that it began with.
      const { target: changed } = useSubject(subject);
      const problems = await changed.findProblems([{ roles: [subject.reader] }]);
      expect(problems.map(({ problem }) => problem)).toContainEqual(expect.stringMatching(one.problem));
      for (const { statement } of problems) await subject.asRoot(statement ?? '');
      const { target: fixed } = useSubject(subject);
      expect(await fixed.findProblems([{ roles: [subject.reader] }])).toEqual([]);
      if (one.restore !== undefined) await subject.asRoot(fill(one.restore));
      await subject.asRoot('drop role `other`');
    });

    it('include each of the privileges that a role must not have on all databases', async () => {
      await subject.asRoot('create role `other`');
      await subject.asRoot(`grant ${refusedGlobally.join(', ')} on *.* to \`other\``);
      await subject.asRoot("grant `other` to 'hall pass'@'%' with admin option");
      const problems = await target.findProblems([{ roles: ['other'] }]);
      expect(problems.map(({ statement }) => statement?.toLowerCase()).sort()).toEqual(
        refusedGlobally.map((privilege) => `revoke ${privilege} on *.* from \`other\``).sort(),
      );
      for (const { statement } of problems) await subject.asRoot(statement ?? '');
      expect(await target.findProblems([{ roles: ['other'] }])).toEqual([]);
      await subject.asRoot('drop role `other`');
    });

    it('do not include what a role may read of the server', async () => {
      const harmless =
        'process on *.*; show databases on *.*; select on mysql.time_zone_name; select on app.*; trigger, create routine on app.*';
      await subject.asRoot('create role `other`');
      for (const each of harmless.split('; ')) await subject.asRoot(`grant ${each} to \`other\``);
      await subject.asRoot("grant `other` to 'hall pass'@'%' with admin option");
      expect(await target.findProblems([{ roles: ['other'] }])).toEqual([]);
      await subject.asRoot('drop role `other`');
    });

    it('are named together, and a name is not another one in other letters', async () => {
      expect(await target.findProblems([{ roles: ["no'such`role", subject.owner.toUpperCase()] }])).toEqual([
        { problem: "the role `no'such``role` does not exist", statement: "CREATE ROLE `no'such``role`" },
        {
          problem: 'the role `OWNER "OF" APP` does not exist',
          statement: 'CREATE ROLE `OWNER "OF" APP`',
        },
      ]);
    });

    it('include a server that is read-only', async () => {
      await subject.asRoot('set global read_only = 1');
      expect(await target.findProblems(subject.mappings)).toEqual([
        { problem: 'the server is read-only, so no account can be made' },
      ]);
      await subject.asRoot('set global read_only = 0');
    });

    it('include a server that wants to see passwords', async () => {
      await subject.asRoot("install soname 'simple_password_check'");
      const [problem, ...others] = await target.findProblems(subject.mappings);
      expect(problem?.problem).toContain('strict_password_validation');
      expect(others).toEqual([]);
      const { accounts } = useSubject(subject);
      await expect(accounts.make()).rejects.toEqual(failure('refused'));
      await subject.asRoot(problem?.statement ?? '');
      expect(await target.findProblems(subject.mappings)).toEqual([]);
      await subject.asRoot(
        "uninstall soname 'simple_password_check'; set global strict_password_validation = on",
      );
    });

    it('without CREATE USER, making, disabling and removing fail with the missing privilege', async () => {
      const withoutIt = async (work: (without: Target) => Promise<unknown>): Promise<void> => {
        await subject.asRoot(fill('revoke create user on *.* from $admin'));
        const { target: without } = useSubject(subject);
        await expect(work(without)).rejects.toEqual(failure('missing-privilege'));
        await subject.asRoot(fill('grant create user on *.* to $admin'));
      };
      const { target: withIt, accounts } = useSubject(subject);
      const account = await accounts.make();
      await withoutIt((without) => without.create(accounts.terms()));
      await withoutIt((without) => without.disableAccess(account.name));
      await withIt.disableAccess(account.name);
      await withoutIt((without) => without.cleanUp(account.name));
      expect((await withIt.cleanUp(account.name)).isGone).toBe(true);
    });

    it('without CONNECTION ADMIN, ending sessions fails with the missing privilege', async () => {
      const { target: before, accounts } = useSubject(subject);
      const account = await accounts.make();
      const session = await before.holdSession(account);
      await before.disableAccess(account.name);
      await subject.asRoot(fill('revoke connection admin on *.* from $admin'));
      const { target: without } = useSubject(subject);
      await expect(without.endSessions(account.name)).rejects.toEqual(failure('missing-privilege'));
      expect(await session.hasEnded()).toBe(false);
      await subject.asRoot(fill('grant connection admin on *.* to $admin'));
      const { target: after } = useSubject(subject);
      expect(await after.endSessions(account.name)).toBe(1);
      await after.cleanUp(account.name);
    });

    it('without ADMIN OPTION on a role or SELECT on the accounts, no account is made', async () => {
      for (const [taken, given] of [
        ['revoke admin option for $role from $admin', 'grant $role to $admin with admin option'],
        ['revoke select on mysql.* from $admin', 'grant select on mysql.* to $admin'],
      ] as const) {
        await subject.asRoot(fill(taken));
        const { target: without, accounts } = useSubject(subject);
        const account = accounts.terms();
        const made = without.create(account).then(() => without.disableAccess(account.name));
        await expect(made).rejects.toEqual(failure('missing-privilege'));
        await subject.asRoot(fill(given));
        const { target: after } = useSubject(subject);
        await after.disableAccess(account.name);
        await after.cleanUp(account.name);
      }
    });
  });
}
