import type mysql from 'mysql2/promise';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { eventually } from '../../support/eventually.ts';
import { endAccount, failure, newPassword } from '../contract.ts';
import { openConnection, prolongLogin } from './raw-login.ts';
import { connectAs, type MariadbSubject, useSubject } from './subject.ts';

type Accounts = ReturnType<typeof useSubject>['accounts'];

/** Tests how accounts end in MariaDB, also against an agent that resists. */
export function testEnding(start: () => Promise<MariadbSubject>): void {
  describe('the end of an account in MariaDB', () => {
    let subject: MariadbSubject;
    let target: Target;
    let accounts: Accounts;
    beforeAll(async () => {
      subject = await start();
      ({ target, accounts } = useSubject(subject));
    });
    const makeOwner = () => accounts.make({ mappings: [{ roles: [subject.owner] }] });

    it('is not evaded by a reconnect storm: no login that begins after access was disabled succeeds', async () => {
      const account = await accounts.make();
      let isDisabled = false;
      let isOver = false;
      let lateLogins = 0;
      const sessions: mysql.Connection[] = [];
      const storm = Array.from({ length: 4 }, async () => {
        while (!isOver) {
          const beganLate = isDisabled;
          const session = await connectAs(subject, account).catch(() => undefined);
          if (session === undefined) continue;
          sessions.push(session);
          if (beganLate) lateLogins += 1;
        }
      });
      await eventually(async () => expect(sessions.length).toBeGreaterThan(3));
      await target.disableAccess(account.name);
      isDisabled = true;
      await target.endSessions(account.name);
      isOver = true;
      await Promise.all(storm);
      expect(lateLogins).toBe(0);
      for (const session of sessions) await expect(session.query('select 1')).rejects.toThrow();
      expect((await target.cleanUp(account.name)).isGone).toBe(true);
    });

    it('finds a login that the client prolongs, which the lock of the account does not stop', async () => {
      const account = await accounts.make();
      const logins = await Promise.all([1, 2].map(() => prolongLogin(subject.server.port, account)));
      await target.disableAccess(account.name);
      expect(await logins[0]?.finish()).toBe(true);
      expect(await target.endSessions(account.name)).toBe(2);
      expect(await logins[0]?.isUsable()).toBe(false);
      expect(await logins[1]?.finish()).toBe(false);
      await target.cleanUp(account.name);
    });

    it('finds a login on a connection of another account, which stays without the account that ended', async () => {
      const [account, other] = [await accounts.make(), await accounts.make()];
      const connection = await openConnection(subject.server.port);
      expect(await (await connection.begin(other)).finish()).toBe(true);
      const change = await connection.change(account);
      await target.disableAccess(account.name);
      expect(await target.endSessions(account.name)).toBe(1);
      expect(await change.finish()).toBe(false);
      await endAccount(target, account.name);
      await endAccount(target, other.name);
    });

    it('refuses a login on a connection that was opened before and names the account afterwards', async () => {
      const account = await accounts.make();
      const connection = await openConnection(subject.server.port);
      await subject.asRoot(`alter user '${account.name}'@'%' account lock`);
      expect(await target.endSessions(account.name)).toBe(0);
      expect(await (await connection.begin(account)).finish()).toBe(false);
      await endAccount(target, account.name);
    });

    it('includes an account that changed its own password, before or afterwards', async () => {
      const account = await accounts.make();
      const session = await connectAs(subject, account);
      await session.query(`set password = password('changed')`);
      await target.disableAccess(account.name);
      await session.query(`set password = password('again')`);
      await expect(session.query(`alter user '${account.name}'@'%' account unlock`)).rejects.toThrow(
        'denied',
      );
      for (const password of [account.password, 'changed', 'again']) {
        await expect(target.holdSession({ ...account, password })).rejects.toEqual(failure('login-refused'));
      }
      expect(await target.endSessions(account.name)).toBe(1);
      await target.cleanUp(account.name);
    });

    it('does not wait for a statement, a lock or a transaction of the account', async () => {
      const account = await makeOwner();
      const sessions = await Promise.all(
        [
          'select sleep(100)',
          'lock tables app.orders write',
          'backup lock app.orders',
          'select get_lock("mine", 1)',
          'start transaction; update app.orders set id = 43',
          `set session max_statement_time = 0, wait_timeout = 28800, autocommit = 0`,
        ].map(async (statement) => {
          const session = await connectAs(subject, account, { multipleStatements: true });
          void session.query(statement).catch(() => {});
          return session;
        }),
      );
      await target.disableAccess(account.name);
      expect(await target.endSessions(account.name)).toBe(sessions.length);
      expect((await target.cleanUp(account.name)).isGone).toBe(true);
      expect(await subject.asRoot('select id from app.orders')).toEqual([{ id: 42 }]);
    });

    it('makes useless what it defined for others: routines, views and triggers fail afterwards', async () => {
      const account = await makeOwner();
      const session = await connectAs(subject, account, { database: 'app' });
      await session.query('create table copies (id int)');
      await session.query('create procedure read_mine() select * from orders');
      await session.query('create definer = current_role procedure read_ours() select * from orders');
      await session.query('create view seen as select 1 as id');
      await session.query('create trigger copied before insert on copies for each row set new.id = 1');
      const friend = { name: 'friend', password: newPassword() };
      await subject.asRoot(
        `create user friend@'%' identified by '${friend.password}'; grant select, insert, execute on app.* to friend@'%'`,
      );
      const other = await connectAs(subject, friend, { database: 'app' });
      const uses = ['call read_mine()', 'call read_ours()', 'insert into copies values (2)'];
      await other.query('call read_ours()');
      await endAccount(target, account.name);
      for (const use of [...uses, 'select * from seen']) {
        await expect(other.query(use), use).rejects.toThrow(/definer .* does not exist|Access denied/);
      }
      await subject.asRoot(
        `drop table app.copies; drop view app.seen; drop procedure app.read_mine; drop procedure app.read_ours; drop user friend@'%'`,
      );
    });

    it('takes what others granted to the account directly, and what it granted as its proxy', async () => {
      const account = await accounts.make();
      const own = `'${account.name}'@'%'`;
      await subject.asRoot(
        `grant insert on app.* to ${own}; grant create user on *.* to ${own} with grant option; create user friend@'%'`,
      );
      const session = await connectAs(subject, account);
      await session.query(`grant proxy on ${own} to friend@'%'`);
      await target.disableAccess(account.name);
      const grants = await subject.asRoot<Record<string, string>>(`show grants for ${own}`);
      const privileges = grants.flatMap(Object.values).filter((row) => String(row).startsWith('GRANT'));
      expect(privileges).toEqual([expect.stringMatching(/^GRANT USAGE ON \*\.\* /)]);
      await target.endSessions(account.name);
      expect((await target.cleanUp(account.name)).isGone).toBe(true);
      await subject.asRoot(`drop user friend@'%'`);
    });

    it('is not delayed by a prepared XA transaction, which stays: the server does not tell whose it is', async () => {
      const account = await makeOwner();
      const session = await connectAs(subject, account);
      for (const statement of [
        `xa start 'left'`,
        'insert into app.orders values (7)',
        `xa end 'left'`,
        `xa prepare 'left'`,
      ]) {
        await session.query(statement);
      }
      expect((await endAccount(target, account.name)).isGone).toBe(true);
      const [left] = await subject.asRoot<{ data: string }>('xa recover');
      expect(String(left?.data)).toBe('left');
      await subject.asRoot(`xa rollback 'left'`);
    });

    it('finds the sessions of an account, or the role of one, that somebody dropped', async () => {
      const account = await accounts.make();
      const session = await connectAs(subject, account);
      await subject.asRoot(`drop user '${account.name}'@'%'`);
      expect(await accounts.find(account.name)).toEqual({
        name: account.name,
        canLogIn: false,
        expiresAt: null,
      });
      await target.disableAccess(account.name);
      expect(await target.endSessions(account.name)).toBe(1);
      await expect(session.query('select 1')).rejects.toThrow();
      expect(await target.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
      expect(
        await subject.asRoot(`select User from mysql.global_priv where User like '${account.name}%'`),
      ).toEqual([]);
    });

    it('refuses to end sessions of, or to remove, an account that can still log in', async () => {
      const { name } = await accounts.make();
      await expect(target.endSessions(name)).rejects.toEqual(failure('refused'));
      await expect(target.cleanUp(name)).rejects.toEqual(failure('refused'));
      await endAccount(target, name);
    });
  });
}
