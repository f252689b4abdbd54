import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { eventually } from '../../support/eventually.ts';
import { endAccount, failure, newPassword } from '../contract.ts';
import { connectAs, type PostgresSubject, useSubject } from './subject.ts';

type Accounts = ReturnType<typeof useSubject>['accounts'];

/** Tests how accounts come into being and end in PostgreSQL, also against an agent that resists. */
export function testEnding(start: () => Promise<PostgresSubject>): void {
  let subject: PostgresSubject;
  let target: Target;
  let accounts: Accounts;
  beforeAll(async () => {
    subject = await start();
    ({ target, accounts } = useSubject(subject));
  });

  describe('a new account in PostgreSQL', () => {
    it('is a member of its roles, has no privilege of its own, and its objects belong to its only role', async () => {
      const account = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
      const session = await connectAs(subject, account);
      await session.query('create table s.made ()');
      const [table] = await subject.asSuperuser(
        `select relowner::regrole::text as owner from pg_class where relname = 'made'`,
      );
      expect(table).toEqual({ owner: `"${subject.owner}"` });
      const own = await subject.asSuperuser(
        `select from pg_shdepend where refobjid = '${account.name}'::regrole and deptype in ('a', 'o')`,
      );
      expect(own).toEqual([]);
      await subject.asSuperuser('drop table s.made');
      await endAccount(target, account.name);
    });

    it('has a SCRAM verifier, and an end by the clock of the server', async () => {
      const account = await accounts.make();
      const [row] = await subject.asSuperuser<{ verifier: string; left: number }>(
        `select rolpassword as verifier, extract(epoch from rolvaliduntil - now())::float8 as left
           from pg_authid where rolname = '${account.name}'`,
      );
      expect(row?.verifier).toMatch(/^SCRAM-SHA-256\$4096:/);
      expect(row?.left).toBeGreaterThan(540);
      expect(row?.left).toBeLessThanOrEqual(600);
      await endAccount(target, account.name);
    });

    it('is refused by the server itself after its end', async () => {
      const account = await accounts.make();
      await target.renew({ name: account.name, expiresAt: addSeconds(subject.options.clock.now(), -1) });
      await expect(target.holdSession(account)).rejects.toEqual(failure('login-refused'));
      await endAccount(target, account.name);
    });

    it('does not come into being if the deadline passes while the server makes it', async () => {
      const account = accounts.terms();
      const blocker = await connectAs(subject, superuser(subject));
      await blocker.query(`begin; create role ${account.name}`);
      // The broker's clock does not move, so only the clock of the server can notice.
      const creation = target.create({ ...account, deadline: addSeconds(subject.options.clock.now(), 0.3) });
      const refused = expect(creation).rejects.toEqual(failure('deadline-passed'));
      await blocker.query('select pg_sleep(0.6); rollback');
      await refused;
      expect(await accounts.find(account.name)).toBeUndefined();
    });
  });

  describe('the end of an account in PostgreSQL', () => {
    it('is not evaded by a reconnect storm: no login that begins after access was disabled succeeds', async () => {
      const account = await accounts.make();
      let isDisabled = false;
      let isOver = false;
      let lateLogins = 0;
      const sessions: pg.Client[] = [];
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

    it('finds a login that the client prolongs beyond the end of the lease', async () => {
      const account = await accounts.make();
      const { login } = await prolongLogin(subject, account);
      await target.disableAccess(account.name);
      expect(await target.endSessions(account.name)).toBeGreaterThan(0);
      // Refused, or ended if the machine was so slow that the login was finished.
      await expect(login.then((session) => session.query('select 1'))).rejects.toThrow();
      await target.cleanUp(account.name);
    });

    it('does not wait for an agent that keeps its own role locked', async () => {
      const account = await accounts.make();
      const [holder, ...others] = await Promise.all([1, 2, 3].map(() => connectAs(subject, account)));
      const lock = `set role none; begin; alter role ${account.name} password 'changed'`;
      await holder?.query(lock);
      const attempts = others.map((session) => session.query(lock).catch(() => {}));
      await target.disableAccess(account.name);
      await Promise.all(attempts);
      await target.endSessions(account.name);
      expect((await target.cleanUp(account.name)).isGone).toBe(true);
    });

    it('of many at the same time does not wait for those whose agents keep their roles locked', async () => {
      const all = await Promise.all(Array.from({ length: 30 }, () => accounts.make()));
      const [locked, others] = [all.slice(0, 5), all.slice(5)];
      const sessions = await Promise.all(all.map((account) => connectAs(subject, account)));
      for (const [index] of locked.entries()) {
        await sessions[index]?.query("set role none; begin; alter role session_user password 'changed'");
      }
      let disabled = 0;
      const count = async (name: string): Promise<number> => {
        await target.disableAccess(name);
        disabled += 1;
        return disabled;
      };
      const positions = await Promise.all(all.map(({ name }) => count(name)));
      expect(Math.max(...positions.slice(5))).toBe(others.length);
      const ended = await Promise.all(all.map(({ name }) => target.endSessions(name)));
      // Those of the locked roles had to end before.
      expect(ended.slice(5)).toEqual(others.map(() => 1));
      for (const session of sessions) await expect(session.query('select 1')).rejects.toThrow();
      const cleaned = await Promise.all(all.map(({ name }) => target.cleanUp(name)));
      expect(cleaned.every(({ isGone }) => isGone)).toBe(true);
      expect(await target.listAccounts(accounts.prefix)).toEqual([]);
    });

    it('of many is not delayed by another account that grants something to one of them and waits', async () => {
      const ended = await Promise.all(Array.from({ length: 5 }, () => accounts.make()));
      const other = await accounts.make();
      const session = await connectAs(subject, other);
      const [first, ...rest] = ended.map(({ name }) => name);
      await session.query(`begin; create temp table t (id int); grant select on t to ${first}`);
      await Promise.all(ended.map(({ name }) => target.disableAccess(name)));
      await Promise.all(ended.map(({ name }) => target.endSessions(name)));
      const locked = target.cleanUp(first ?? '').catch((error: unknown) => error);
      const cleaned = await Promise.all(rest.map((name) => target.cleanUp(name)));
      expect(cleaned.every(({ isGone }) => isGone)).toBe(true);
      expect(await locked).toEqual(failure('timed-out'));
      await session.query('rollback');
      expect((await target.cleanUp(first ?? '')).isGone).toBe(true);
      await endAccount(target, other.name);
    });

    it('includes an account that changed its own password', async () => {
      const account = await accounts.make();
      const session = await connectAs(subject, account);
      await session.query(`set role none; alter role ${account.name} password 'changed'`);
      await target.disableAccess(account.name);
      for (const password of [account.password, 'changed']) {
        await expect(target.holdSession({ ...account, password })).rejects.toEqual(failure('login-refused'));
      }
      // A password that its session sets now is of no use either.
      await session.query(`alter role ${account.name} password 'again'`).catch(() => {});
      await expect(target.holdSession({ ...account, password: 'again' })).rejects.toEqual(
        failure('login-refused'),
      );
      await endAccount(target, account.name);
    });

    it('takes memberships in the account from others, also those that it grants while it ends', async () => {
      const account = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
      const friend = { name: `${accounts.prefix}friend`, password: newPassword() };
      await subject.asSuperuser(`create role ${friend.name} login password '${friend.password}'`);
      const session = await connectAs(subject, account);
      await session.query('set role none; create table s.kept as select 1 as id');
      const grant = `grant ${account.name} to ${friend.name}`;
      // Since 15 a login may not grant memberships in itself.
      if (subject.major >= 15) await expect(session.query(grant)).rejects.toThrow(/permission|admin option/);
      else await session.query(grant);
      const other = await connectAs(subject, friend);
      const read = (table: string) => other.query(`select id from ${table}`);
      if (subject.major < 15) await read('s.orders');
      await target.disableAccess(account.name);
      await expect(read('s.orders')).rejects.toThrow('permission denied');
      // Its open session may grant it again; the clean-up takes that, too, although the role stays with what it owns.
      await session.query(grant).catch(() => {});
      await target.endSessions(account.name);
      expect((await target.cleanUp(account.name)).isGone).toBe(false);
      await expect(read('s.kept')).rejects.toThrow('permission denied');
      const members = await subject.asSuperuser(
        `select from pg_auth_members where roleid = '${account.name}'::regrole and member = '${friend.name}'::regrole`,
      );
      expect(members).toEqual([]);
      await other.end();
      await subject.asSuperuser(`drop table s.kept; drop role ${friend.name}`);
      expect((await target.cleanUp(account.name)).isGone).toBe(true);
    });

    it('ends 20 sessions of one account, which is the most that it can have', async () => {
      const account = await accounts.make();
      await Promise.all(Array.from({ length: 20 }, () => connectAs(subject, account)));
      await expect(connectAs(subject, account)).rejects.toThrow('too many connections for role');
      await target.disableAccess(account.name);
      // The process of the refused login may not have ended yet.
      expect(await target.endSessions(account.name)).toBeGreaterThanOrEqual(20);
      await target.cleanUp(account.name);
    });

    it('succeeds for an account that somebody dropped', async () => {
      const { name } = await accounts.make();
      await subject.asSuperuser(`drop role ${name}`);
      expect(await endAccount(target, name)).toEqual({ isGone: true, ownedObjects: [] });
    });

    it('refuses to end sessions of, or to remove, an account that can still log in', async () => {
      const { name } = await accounts.make();
      await expect(target.endSessions(name)).rejects.toEqual(failure('refused'));
      await expect(target.cleanUp(name)).rejects.toEqual(failure('refused'));
      await endAccount(target, name);
    });
  });
}

/** The superuser of the server, for connections that have to stay open. */
function superuser({ adminUrl }: PostgresSubject): { name: string; password: string } {
  const { username, password } = new URL(adminUrl);
  return { name: username, password: decodeURIComponent(password) };
}

/**
 * Begins logins until one is found between the check of its password and its end, where the client keeps it for three seconds.
 *
 * @returns the login, whose session begins only after the delay
 */
async function prolongLogin(
  subject: PostgresSubject,
  account: { name: string; password: string },
): Promise<{ login: Promise<pg.Client> }> {
  const watch = new pg.Client({ connectionString: subject.adminUrl });
  await watch.connect();
  const isStarting = async () => {
    await watch.query('select pg_sleep(0.05)');
    expect((await watch.query(startingLogins)).rowCount).toBeGreaterThan(0);
  };
  try {
    return await eventually(async () => {
      const login = connectAs(subject, account, { options: '-c post_auth_delay=3' });
      login.catch(() => {});
      try {
        await eventually(isStarting, { seconds: 3 });
        // A login that is found for half a second has passed the check of its password.
        for (let i = 0; i < 10; i += 1) await isStarting();
        return { login };
      } catch (error) {
        await login.then((session) => session.end());
        throw error;
      }
    });
  } finally {
    await watch.end();
  }
}

const startingLogins = `
  select from pg_locks l where locktype = 'virtualxid' and pid <> pg_backend_pid() and not exists
    (select from pg_stat_activity a where a.pid = l.pid and usesysid is not null)`;
