import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { type PostgresSubject, useSubject } from './subject.ts';

const quote = pg.escapeIdentifier;

interface Case {
  what: string;
  /** Makes the problem. `$role` is the mapped role, `$admin` the admin account, `$other` a further role. */
  break: string;
  problem: RegExp;
  /** The first and the last version with the problem. */
  since?: number;
  until?: number;
}

const cases: Case[] = [
  {
    what: 'an admin without CREATEROLE',
    break: 'alter role $admin nocreaterole',
    problem: /lacks the attribute CREATEROLE/,
  },
  {
    what: 'an admin that does not inherit',
    break: 'alter role $admin noinherit',
    problem: /lacks the attribute INHERIT/,
    until: 15,
  },
  {
    what: 'an admin without ADMIN OPTION on a mapped role',
    break: 'revoke $role from $admin cascade',
    problem: /lacks ADMIN OPTION on the role/,
    since: 16,
  },
  { what: 'a superuser', break: 'alter role $role superuser', problem: /is a superuser/ },
  { what: 'a role with CREATEROLE', break: 'alter role $role createrole', problem: /has CREATEROLE/ },
  {
    what: 'a role with LOGIN, whose password a member can set',
    break: 'alter role $role login',
    problem: /can log in/,
  },
  { what: 'a role with CREATEDB', break: 'alter role $role createdb', problem: /has CREATEDB/ },
  { what: 'a role with REPLICATION', break: 'alter role $role replication', problem: /has REPLICATION/ },
  { what: 'a role with BYPASSRLS', break: 'alter role $role bypassrls', problem: /has BYPASSRLS/ },
  {
    what: 'a member of a role with CREATEROLE',
    break: 'alter role $other createrole; grant $other to $role',
    problem: /"other_.*", which .* has, has CREATEROLE/,
  },
  {
    what: 'a member of a member of a role that runs programs',
    break: 'grant pg_execute_server_program to $other; grant $other to $role',
    problem: /"pg_execute_server_program", which .* by way of "other_.*" has, runs programs/,
  },
  ...['pg_read_server_files', 'pg_write_server_files', 'pg_read_all_data', 'pg_signal_backend'].map(
    (name) => ({
      what: `a member of ${name}`,
      break: `grant ${name} to $role`,
      problem: new RegExp(`"${name}", which `),
    }),
  ),
  {
    what: 'a member of pg_create_subscription',
    break: 'grant pg_create_subscription to $role',
    problem: /"pg_create_subscription", which /,
    since: 16,
  },
  {
    what: 'a member of pg_maintain',
    break: 'grant pg_maintain to $role',
    problem: /"pg_maintain", which /,
    since: 17,
  },
  {
    what: 'a role that may grant another role',
    break: 'grant $other to $role with admin option',
    problem: /may grant the role "other_.*" to others/,
  },
  {
    what: 'a role that no one may connect with',
    break: 'revoke connect on database $database from public',
    problem: /no mapped role may connect to the database/,
  },
];

/** Tests that what makes leases impossible or dangerous is found before a target is used. */
export function testAdmin(start: () => Promise<PostgresSubject>): void {
  describe('the problems of a PostgreSQL target', () => {
    let subject: PostgresSubject;
    let target: Target;
    beforeAll(async () => {
      subject = await start();
      ({ target } = useSubject(subject));
    });
    const fill = (text: string, other: string): string =>
      text
        .replaceAll('$role', () => quote(subject.reader))
        .replaceAll('$admin', () => quote(subject.options.connection.username))
        .replaceAll('$database', () => quote(subject.options.connection.database ?? ''))
        .replaceAll('$other', () => quote(other));

    it.each(cases)('include $what, with the statement that fixes it', async (one) => {
      const { major } = subject;
      if (major < (one.since ?? 0) || major > (one.until ?? 99)) return;
      const other = `other_${randomBytes(4).toString('hex')}`;
      await subject.asSuperuser(`create role ${other}`);
      await subject.asSuperuser(fill(one.break, other));
      const problems = await target.findProblems([{ roles: [subject.reader] }]);
      expect(problems.map(({ problem }) => problem).join('\n')).toMatch(one.problem);
      for (const { statement } of problems) await subject.asSuperuser(statement ?? '');
      expect(await target.findProblems([{ roles: [subject.reader] }])).toEqual([]);
      await subject.asSuperuser(
        `drop role ${other}; grant connect on database ${fill('$database', '')} to public`,
      );
    });

    it('include the admin account as a mapped role, directly or through another', async () => {
      const { username } = subject.options.connection;
      const direct = await target.findProblems([{ roles: [username] }]);
      expect(direct.map(({ problem }) => problem)).toContain(
        `the role "${username}" is the admin account itself`,
      );
      const other = `through_${username}`;
      await subject.asSuperuser(`create role ${other} in role ${username}`);
      const indirect = await target.findProblems([{ roles: [other] }]);
      expect(indirect.map(({ problem }) => problem).join('\n')).toContain(
        'is the admin account of the broker',
      );
      await subject.asSuperuser(`drop role ${other}`);
    });

    it('are named together', async () => {
      const problems = await target.findProblems([{ roles: ['no_such_role', 'no\'such"role'] }]);
      expect(problems).toEqual([
        {
          problem: 'the role "no_such_role" does not exist',
          statement: 'CREATE ROLE "no_such_role" NOLOGIN',
        },
        {
          problem: `the role "no'such""role" does not exist`,
          statement: `CREATE ROLE "no'such""role" NOLOGIN`,
        },
      ]);
    });
  });

  it('a superuser needs no memberships to administer leases', async () => {
    const subject = await start();
    const { username, password } = new URL(subject.adminUrl);
    const { target, accounts } = useSubject(subject, { username, password: decodeURIComponent(password) });
    expect(await target.findProblems(subject.mappings)).toEqual([]);
    const { name } = await accounts.make();
    await target.disableAccess(name);
    expect(await target.endSessions(name)).toBe(0);
    expect((await target.cleanUp(name)).isGone).toBe(true);
  });
}
