import { beforeAll, describe, expect, it } from 'vitest';
import type { NewAccount, Target } from '../../../src/engines/engine.ts';
import { openConnections } from '../../../src/engines/mysql/connections.ts';
import { createAccount } from '../../../src/engines/mysql/create.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { atEnd } from '../../support/at-end.ts';
import { endAccount, failure } from '../contract.ts';
import { connectAs, connectAsRoot, type MariadbSubject, quote, rowsOf, useSubject } from './subject.ts';

type Accounts = ReturnType<typeof useSubject>['accounts'];

/** Tests how accounts come into being in MariaDB. */
export function testAccounts(start: () => Promise<MariadbSubject>): void {
  describe('a new account in MariaDB', () => {
    let subject: MariadbSubject;
    let target: Target;
    let accounts: Accounts;
    beforeAll(async () => {
      subject = await start();
      ({ target, accounts } = useSubject(subject));
    });
    /** Whether the server has an account or a role whose name begins like this. */
    const isLeft = async (name: string): Promise<boolean> => {
      const rows = await subject.asRoot(
        `select User from mysql.global_priv where left(User, ${name.length}) = '${name}'
         union all select User from mysql.roles_mapping where left(Role, ${name.length}) = '${name}'`,
      );
      return rows.length > 0;
    };

    /** Creates an account with a pause after each use of a connection, while the broker's clock stands still. */
    const createSlowly = async (account: NewAccount, pauseSeconds: number): Promise<void> => {
      const connections = openConnections(subject.options);
      atEnd(async () => connections.close());
      const roles = [subject.reader];
      const { clock } = subject.options;
      await connections.run((call) => {
        const onPrimary: typeof call.onPrimary = (work) =>
          call.onPrimary(async (session) => {
            const result = await work(session);
            await session.query('do sleep(?)', [pauseSeconds]);
            return result;
          });
        return createAccount({ ...call, onPrimary }, { account, roles, clock });
      });
    };

    it('has the mapped roles through a role of its own, which is active, and nothing else', async () => {
      const account = await accounts.make({ mappings: subject.mappings });
      const session = await connectAs(subject, account);
      expect(await rowsOf(session, 'select current_role() as role')).toEqual([
        { role: `${account.name}.role` },
      ]);
      await session.query('create table app.made (id int)');
      await session.query('drop table app.made');
      const grants = await rowsOf<Record<string, string>>(session, 'show grants');
      const own = grants
        .flatMap(Object.values)
        .filter((row) => String(row).includes(`TO \`${account.name}\`@`));
      expect(own).toHaveLength(2);
      expect(own[0]).toBe(`GRANT \`${account.name}.role\` TO \`${account.name}\`@\`%\``);
      expect(own[1]).toMatch(/^GRANT USAGE ON \*\.\* /);
      await endAccount(target, account.name);
    });

    it('cannot get more with SET ROLE', async () => {
      const account = await accounts.make();
      const other = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
      const session = await connectAs(subject, account);
      for (const role of [subject.owner, `${other.name}.role`, 'PUBLIC']) {
        await expect(session.query(`set role ${quote(role)}`)).rejects.toThrow(
          /Invalid role|not been granted/,
        );
      }
      await expect(session.query('insert into app.orders values (1)')).rejects.toThrow('denied');
      await endAccount(target, account.name);
      await endAccount(target, other.name);
    });

    it('may not change, make or share accounts and roles', async () => {
      const account = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
      const session = await connectAs(subject, account);
      const own = `'${account.name}'@'%'`;
      for (const statement of [
        `alter user ${own} account unlock`,
        `alter user ${own} with max_user_connections 1000`,
        `create user 'hp_other'@'%'`,
        `create role hp_other`,
        `grant ${quote(`${account.name}.role`)} to ${own} with admin option`,
        `grant select on app.* to ${own}`,
        `create definer=${quote(subject.owner)} procedure app.later() select 1`,
        `set password for 'hall pass'@'%' = password('changed')`,
        'backup stage start',
        'flush tables with read lock',
        'set global read_only = 1',
        'select * from mysql.global_priv',
      ]) {
        await expect(session.query(statement), statement).rejects.toThrow(/denied/);
      }
      // This ends only what the account may end.
      expect(await rowsOf(session, `kill connection user 'hall pass'@'%'`)).toMatchObject({
        affectedRows: 0,
      });
      await endAccount(target, account.name);
    });

    it('has at most 20 sessions at one time, which end with it', async () => {
      const account = await accounts.make();
      await Promise.all(Array.from({ length: 20 }, () => connectAs(subject, account)));
      await expect(connectAs(subject, account)).rejects.toThrow(/max_user_connections/);
      await target.disableAccess(account.name);
      // The connection of the refused login may not have ended yet.
      expect(await target.endSessions(account.name)).toBeGreaterThanOrEqual(20);
      await target.cleanUp(account.name);
    });

    it.each([
      ['a mapped role does not exist', (found: MariadbSubject) => [...found.mappings, found.missing]],
      ['a mapped role cannot be granted', () => [{ roles: ['foreign'] }]],
    ])('leaves nothing if %s', async (_what, mappings) => {
      await subject.asRoot('create role if not exists foreign_to_all; create or replace role `foreign`');
      const account = { ...accounts.terms(), mappings: mappings(subject) };
      await expect(target.create(account)).rejects.toThrow(/Invalid role|Access denied/);
      expect(await isLeft(account.name)).toBe(false);
    });

    it('leaves nothing if it cannot log in, and the failure tells it', async () => {
      const account = accounts.terms();
      await subject.asRoot(
        `create user ''@'localhost' identified by 'x'; create user ''@'127.0.0.1' identified by 'x'`,
      );
      await expect(target.create(account)).rejects.toEqual(failure('login-refused'));
      await subject.asRoot(`drop user ''@'localhost', ''@'127.0.0.1'`);
      expect(await isLeft(account.name)).toBe(false);
    });

    it('does not come into being if the deadline passes while the server waits', async () => {
      const account = { ...accounts.terms(), deadline: addSeconds(subject.options.clock.now(), 0.3) };
      const blocker = await connectAsRoot(subject);
      await blocker.query('flush tables with read lock');
      // The broker's clock does not move, so only the clock of the server can notice.
      const refused = expect(target.create(account)).rejects.toEqual(failure('deadline-passed'));
      await blocker.query('select sleep(0.6)');
      await blocker.query('unlock tables');
      await refused;
      expect(await isLeft(account.name)).toBe(false);
    });

    it('does not come into being if the broker pauses until the deadline has passed', async () => {
      const account = await accounts.make();
      const deadline = addSeconds(subject.options.clock.now(), 0.1);
      // An account of this name exists, which the server would notice first if it tried to make it.
      const creation = createSlowly({ ...account, deadline }, 0.2);
      await expect(creation).rejects.toEqual(failure('deadline-passed'));
      await endAccount(target, account.name);
    });

    it('does not stay if the server has made it too late', async () => {
      const account = { ...accounts.terms(), deadline: addSeconds(subject.options.clock.now(), 0.5) };
      const blocker = await connectAsRoot(subject);
      await blocker.query('flush tables with read lock');
      // The pause moves the limit of the statement to 0.8 seconds.
      const refused = expect(createSlowly(account, 0.3)).rejects.toEqual(failure('deadline-passed'));
      await blocker.query('do sleep(0.65)');
      await blocker.query('unlock tables');
      await refused;
      expect(await isLeft(account.name)).toBe(false);
    });

    it('does not replace an account that others made, with its privileges', async () => {
      const account = accounts.terms();
      await subject.asRoot(
        `create user '${account.name}'@'%'; grant select on app.* to '${account.name}'@'%'`,
      );
      await expect(target.create(account)).rejects.toEqual(failure('account-exists'));
      expect(
        await rowsOf(await connectAs(subject, { ...account, password: '' }), 'select id from app.orders'),
      ).toEqual([{ id: 42 }]);
      await endAccount(target, account.name);
    });
  });
}
