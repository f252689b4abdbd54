import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { endAccount, failure } from '../../engines/contract.ts';
import { isMariadbMissing, startMariadb } from '../../engines/mysql/mariadb-server.ts';
import {
  connectAs,
  connectAsRoot,
  type MariadbSubject,
  prepareMariadb,
  quote,
  rowsOf,
  useSubject,
} from '../../engines/mysql/subject.ts';
import { eventually } from '../../support/eventually.ts';

type Accounts = ReturnType<typeof useSubject>['accounts'];

describe.skipIf(isMariadbMissing)('accounts in MariaDB', () => {
  let subject: MariadbSubject;
  let target: Target;
  let accounts: Accounts;
  beforeAll(async () => {
    subject = await prepareMariadb(await startMariadb());
    ({ target, accounts } = useSubject(subject));
  });

  it('whose events run end with them, and no event of theirs ever runs again', async () => {
    const account = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
    const root = await connectAsRoot(subject);
    await root.query('set global event_scheduler = on');
    // A target with such a role is refused, but an admin of the target may grant this afterwards.
    await root.query(`grant event on app.* to ${quote(subject.owner)}`);
    const session = await connectAs(subject, account, { database: 'app' });
    await session.query('create table ticks (id int auto_increment primary key)');
    await session.query(
      `create definer = current_role event as_role on schedule every 1 second do
         begin insert into ticks values (); do sleep(100); end`,
    );
    const running = () =>
      rowsOf<{ user: string }>(
        root,
        `select USER as user from information_schema.processlist where COMMAND <> 'Sleep' and USER like '${account.name}%'`,
      );
    await eventually(async () => expect(await running()).toEqual([{ user: `${account.name}.role` }]));
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBe(2);
    expect((await target.cleanUp(account.name)).isGone).toBe(true);
    const before = await rowsOf(root, 'select count(*) as n from app.ticks');
    await root.query('do sleep(2.2)');
    expect(await rowsOf(root, 'select count(*) as n from app.ticks')).toEqual(before);
    expect(await running()).toEqual([]);
    await root.query(`revoke event on app.* from ${quote(subject.owner)}`);
  });

  it('leave nothing if the deadline passes when half is made', async () => {
    const roles = Array.from({ length: 19 }, (_, index) => `many_${index}`);
    await subject.asRoot(
      roles
        .map((role) => `create role ${role}; grant ${role} to 'hall pass'@'%' with admin option`)
        .join(';'),
    );
    const blocker = await connectAsRoot(subject);
    // The lock has to come while the server makes the account, which the test cannot determine.
    await eventually(async () => {
      const deadline = addSeconds(subject.options.clock.now(), 0.5);
      const account = { ...accounts.terms(), mappings: [{ roles }], deadline };
      const result = target.create(account).catch((error: unknown) => error);
      const count = async (): Promise<number> => {
        const rows = await rowsOf(
          blocker,
          `select Role from mysql.roles_mapping where User = '${account.name}.role'`,
        );
        return rows.length;
      };
      while ((await count()) === 0) await blocker.query('do 1');
      await blocker.query('flush tables with read lock');
      const made = await count();
      await blocker.query('do sleep(0.6)');
      const isThere = (await accounts.find(account.name)) !== undefined;
      await blocker.query('unlock tables');
      const error = await result;
      const isLeft = (await accounts.find(account.name)) !== undefined;
      await endAccount(target, account.name);
      expect({ isEarly: made < roles.length, isThere }).toEqual({ isEarly: true, isThere: true });
      expect({ error, isLeft }).toEqual({ error: failure('deadline-passed'), isLeft: false });
    });
  });

  it('may end at the same time, 100 of them with a session each', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => accounts.make()));
    const sessions = await Promise.all(all.map((account) => connectAs(subject, account)));
    const ends = await Promise.all(all.map(({ name }) => endAccount(target, name)));
    expect(ends.every(({ isGone }) => isGone)).toBe(true);
    for (const session of sessions) await expect(session.query('select 1')).rejects.toThrow();
    expect(await target.listAccounts(accounts.prefix)).toEqual([]);
  });

  it('do not depend on the settings of the server for literals, names, times and passwords', async () => {
    await subject.asRoot(
      `set global sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ORACLE', time_zone = '+13:00', old_passwords = 1,
         sql_quote_show_create = 0, max_statement_time = 1, character_set_client = latin1`,
    );
    const { target: fresh, accounts: more } = useSubject(subject);
    expect(await fresh.findProblems(subject.mappings)).toEqual([]);
    const account = await more.make({ mappings: subject.mappings });
    await (await fresh.holdSession(account)).close();
    expect((await endAccount(fresh, account.name)).isGone).toBe(true);
    const late = { ...more.terms(), deadline: subject.options.clock.now() };
    await expect(fresh.create(late)).rejects.toEqual(failure('deadline-passed'));
    await subject.asRoot(
      'set global sql_mode = default, time_zone = default, old_passwords = default, sql_quote_show_create = default, max_statement_time = default',
    );
  });
});
