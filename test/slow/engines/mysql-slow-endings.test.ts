import type mysql from 'mysql2/promise';
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
    // The server runs the event again while it runs.
    await eventually(async () => expect((await running())[0]).toEqual({ user: `${account.name}.role` }));
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBeGreaterThanOrEqual(2);
    expect((await target.cleanUp(account.name)).isGone).toBe(true);
    const before = await rowsOf(root, 'select count(*) as n from app.ticks');
    await root.query('do sleep(2.2)');
    expect(await rowsOf(root, 'select count(*) as n from app.ticks')).toEqual(before);
    expect(await running()).toEqual([]);
    await root.query(`revoke event on app.* from ${quote(subject.owner)}`);
  });

  describe('of which half is made', () => {
    const roles = Array.from({ length: 19 }, (_, index) => `many_${index}`);
    beforeAll(async () => {
      const statements = roles.map(
        (role) => `create role ${role}; grant ${role} to 'hall pass'@'%' with admin option`,
      );
      await subject.asRoot(statements.join(';'));
    });

    /** Locks the server while it makes an account, runs `interrupt`, and returns how the creation ended. */
    const makeHalf = async (
      deadlineSeconds: number,
      interrupt: (root: mysql.Connection) => Promise<unknown>,
    ) => {
      const root = await connectAsRoot(subject);
      const deadline = addSeconds(subject.options.clock.now(), deadlineSeconds);
      const account = { ...accounts.terms(), mappings: [{ roles }], deadline };
      let isOver = false;
      const result = target
        .create(account)
        .catch((error: unknown) => error)
        .finally(() => {
          isOver = true;
        });
      const count = async (): Promise<number> => {
        const granted = `select Role from mysql.roles_mapping where User = '${account.name}.role'`;
        return (await rowsOf(root, granted)).length;
      };
      while (!isOver && (await count()) === 0) await root.query('do 1');
      await root.query('flush tables with read lock');
      const isHalf = (await count()) < roles.length;
      if (isHalf && !isOver) await interrupt(root);
      const isThere = (await accounts.find(account.name)) !== undefined;
      await root.query('unlock tables');
      const error = await result;
      const isLeft = (await accounts.find(account.name)) !== undefined;
      await endAccount(target, account.name);
      // The lock has to come while the server makes the account, which the test cannot determine.
      expect({ isHalf, isThere }).toEqual({ isHalf: true, isThere: true });
      return { error, isLeft };
    };

    it('leave nothing if their deadline passes', async () => {
      const result = await eventually(() => makeHalf(0.5, (root) => root.query('do sleep(0.6)')));
      expect(result).toEqual({ error: failure('deadline-passed'), isLeft: false });
    });

    it('leave nothing if an admin of the target interrupts the statement', async () => {
      const kill = async (root: mysql.Connection): Promise<void> => {
        const [row] = await eventually(async () => {
          const found = await rowsOf<{ id: number }>(
            root,
            `select ID as id from information_schema.processlist where STATE = 'Waiting for backup lock'`,
          );
          expect(found).toHaveLength(1);
          return found;
        });
        await root.query(`kill query ${row?.id}`);
        await root.query('do sleep(0.1)');
      };
      const result = await eventually(() => makeHalf(60, kill));
      expect(result).toEqual({ error: failure('unreachable'), isLeft: false });
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
    await subject.asRoot(`grant file on *.* to ${quote(subject.reader)}`);
    const [problem] = await fresh.findProblems(subject.mappings);
    await subject.asRoot(problem?.statement ?? '');
    expect(await fresh.findProblems(subject.mappings)).toEqual([]);
    expect(problem?.problem).toMatch(/has FILE/);
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
