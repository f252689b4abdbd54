import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { endAccount, failure } from '../contract.ts';
import { connectAs, type PostgresSubject, useSubject } from './subject.ts';

type Accounts = ReturnType<typeof useSubject>['accounts'];
type Account = Awaited<ReturnType<Accounts['make']>>;

/** Tests what happens to objects and privileges that an account has at its end. */
export function testOwnership(start: () => Promise<PostgresSubject>): void {
  let subject: PostgresSubject;
  let keeping: Target;
  let dropping: Target;
  let accounts: Accounts;
  beforeAll(async () => {
    subject = await start();
    ({ target: keeping, accounts } = useSubject(subject));
    ({ target: dropping } = useSubject(subject, { ownedObjects: 'drop' }));
  });

  /** Makes an account that may create objects, and runs statements as the account itself, not as its mapped role. */
  async function makeOwner(statements: string, database?: string): Promise<Account> {
    const account = await accounts.make({ mappings: [{ roles: [subject.owner] }] });
    await runAs(account, statements, database);
    return account;
  }
  async function runAs(account: Account, statements: string, database?: string): Promise<void> {
    const session = await connectAs(subject, account, database === undefined ? {} : { database });
    await session.query('set role none');
    await session.query(statements);
    await session.end();
  }
  /** Runs a statement as the role that owns the table of the subject. */
  const asOwner = (statement: string): string =>
    `set role ${pg.escapeIdentifier(subject.owner)}; ${statement}; set role none`;

  describe('what an account owns in PostgreSQL', () => {
    it('stays if the target keeps it, with the disabled role, and is listed', async () => {
      const account = await makeOwner('create table s.kept (id int)');
      await runAs(account, 'create table s.kept_too (id int)', subject.otherDatabase);
      const left = {
        isGone: false,
        ownedObjects: [
          `table s.kept_too in database ${subject.otherDatabase}`,
          `table s.kept in database ${subject.options.connection.database}`,
        ],
      };
      expect(await endAccount(keeping, account.name)).toEqual(left);
      expect(await keeping.cleanUp(account.name)).toEqual(left);
      expect(await accounts.find(account.name)).toMatchObject({ canLogIn: false });
      const memberships = await subject.asSuperuser(
        `select from pg_auth_members where member = '${account.name}'::regrole`,
      );
      expect(memberships).toEqual([]);
      await subject.asSuperuser('drop table s.kept');
      await subject.asSuperuser('drop table s.kept_too', subject.otherDatabase);
      expect(await keeping.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
    });

    it('is dropped in every database if the target drops it', async () => {
      const objects = `create table s.temporary (id serial primary key);
        create view s.temporary_view as select id from s.temporary;
        create function s.temporary_function() returns int language sql as 'select 1';
        create type s.temporary_type as enum ('a');
        alter default privileges in schema s grant select on tables to public`;
      const account = await makeOwner(`${objects}; select lo_create(0)`);
      await runAs(account, objects, subject.otherDatabase);
      expect(await endAccount(dropping, account.name)).toEqual({ isGone: true, ownedObjects: [] });
      for (const database of [undefined, subject.otherDatabase]) {
        const left = await subject.asSuperuser(`select from pg_class where relname ~ '^temporary'`, database);
        expect(left).toEqual([]);
      }
    });

    it('is kept although the target drops it, if objects of others depend on it', async () => {
      const account = await makeOwner(
        `create table s.base (id int); grant select on s.base to ${pg.escapeIdentifier(subject.owner)};
         ${asOwner('create view s.dependent as select id from s.base')}`,
      );
      const { isGone, ownedObjects } = await endAccount(dropping, account.name);
      expect(isGone).toBe(false);
      expect(ownedObjects).toEqual([`table s.base in database ${subject.options.connection.database}`]);
      await subject.asSuperuser('drop view s.dependent');
      expect((await dropping.cleanUp(account.name)).isGone).toBe(true);
    });

    it('is described for at most 100 objects', async () => {
      const account = await makeOwner(
        `do $$ begin for i in 1 .. 120 loop execute format('create sequence s.many_%s', i); end loop; end $$`,
      );
      expect((await endAccount(keeping, account.name)).ownedObjects).toHaveLength(100);
      expect((await dropping.cleanUp(account.name)).isGone).toBe(true);
    });

    it('does not include settings for objects that it would create', async () => {
      const account = await makeOwner('alter default privileges grant select on tables to public');
      expect(await endAccount(keeping, account.name)).toEqual({ isGone: true, ownedObjects: [] });
    });

    it('never gets another owner', async () => {
      const account = await makeOwner('create table s.own (id int)');
      await endAccount(keeping, account.name);
      const [row] = await subject.asSuperuser(
        `select relowner::regrole::text as owner from pg_class where relname = 'own'`,
      );
      expect(row).toEqual({ owner: account.name });
      await dropping.cleanUp(account.name);
    });
  });

  describe('the privileges of an account in PostgreSQL', () => {
    const spy = `create function s.spy() returns bigint language sql security definer as 'select count(*) from s.orders'`;

    it('end with its access: its function with SECURITY DEFINER keeps no power', async () => {
      const account = await makeOwner(spy);
      const asReader = () =>
        subject.asSuperuser(`set role ${pg.escapeIdentifier(subject.reader)}; select s.spy()`);
      await asReader();
      await keeping.disableAccess(account.name);
      await expect(asReader()).rejects.toThrow('permission denied');
      await keeping.endSessions(account.name);
      expect((await keeping.cleanUp(account.name)).ownedObjects).toHaveLength(1);
      await expect(asReader()).rejects.toThrow('permission denied');
      await dropping.cleanUp(account.name);
    });

    it('include what it has granted itself as its mapped role, in the clean-up that keeps the function', async () => {
      const account = await makeOwner(spy);
      await runAs(account, asOwner(`grant select on s.orders to ${account.name} with grant option`));
      await runAs(account, `grant select on s.orders to ${pg.escapeIdentifier(subject.reader)}`);
      await subject.asSuperuser(`grant usage on schema s to ${account.name}`);
      const asReader = () =>
        subject.asSuperuser(`set role ${pg.escapeIdentifier(subject.reader)}; select s.spy()`);
      await keeping.disableAccess(account.name);
      // In its schema by grace of the superuser, and on the table by its own grant.
      await asReader();
      await subject.asSuperuser(`revoke usage on schema s from ${account.name}`);
      await keeping.endSessions(account.name);
      expect((await keeping.cleanUp(account.name)).isGone).toBe(false);
      const held = await subject.asSuperuser(
        `select from pg_shdepend where refobjid = '${account.name}'::regrole and deptype = 'a'`,
      );
      expect(held).toEqual([]);
      const readerKeeps = await subject.asSuperuser(
        `select has_table_privilege('${subject.reader.replaceAll("'", "''")}', 's.orders', 'select') as it`,
      );
      expect(readerKeeps).toEqual([{ it: true }]);
      expect((await dropping.cleanUp(account.name)).isGone).toBe(true);
    });

    it('of every kind are revoked, and no membership of the admin account in their grantor remains', async () => {
      const account = await makeOwner('select 1');
      const { name } = account;
      await runAs(
        account,
        asOwner(
          `create sequence s.numbers; create function s.f() returns int language sql as 'select 1';
           create type s.mood as enum ('good');
           grant all on s.orders to ${name}; grant update (id) on s.orders to ${name};
           grant all on sequence s.numbers to ${name}; grant all on function s.f() to ${name};
           grant all on type s.mood to ${name};
           alter default privileges grant select on tables to ${name};
           alter default privileges in schema s grant usage on sequences to ${name};
           alter table s.orders enable row level security; create policy its_own on s.orders to ${name} using (true);
           do $$ begin execute format('grant select on large object %s to ${name}', lo_create(0)); end $$`,
        ),
      );
      const before = await memberships();
      expect(await endAccount(keeping, name)).toEqual({ isGone: true, ownedObjects: [] });
      expect(await memberships()).toEqual(before.filter((row) => !JSON.stringify(row).includes(name)));
      await subject.asSuperuser(
        `alter table s.orders disable row level security; drop sequence s.numbers; drop function s.f(); drop type s.mood`,
      );
    });

    it('that only another role can revoke are a failure with the statement that revokes them', async () => {
      const account = await makeOwner('create table s.mine ()');
      await subject.asSuperuser(`create table s.foreign (); grant select on s.foreign to ${account.name}`);
      await keeping.disableAccess(account.name);
      await keeping.endSessions(account.name);
      const error: unknown = await keeping.cleanUp(account.name).catch((reason: unknown) => reason);
      expect(error).toEqual(failure('missing-privilege'));
      await subject.asSuperuser((error as { statement: string }).statement);
      expect((await keeping.cleanUp(account.name)).isGone).toBe(false);
      expect((await dropping.cleanUp(account.name)).isGone).toBe(true);
      await subject.asSuperuser('drop table s.foreign');
    });

    const memberships = () =>
      subject.asSuperuser(
        `select roleid::regrole::text as role, member::regrole::text as member, grantor::regrole::text as grantor
           from pg_auth_members order by 1, 2, 3`,
      );
  });

  it('a transaction that an account has prepared is rolled back', async (context) => {
    const [setting] = await subject.asSuperuser<{ value: string }>(
      `select current_setting('max_prepared_transactions') as value`,
    );
    if (setting?.value === '0') context.skip('this server allows no prepared transactions');
    const account = await makeOwner(`begin; create table s.prepared (); prepare transaction 'it''s'`);
    expect(await endAccount(keeping, account.name)).toEqual({ isGone: true, ownedObjects: [] });
    expect(await subject.asSuperuser('select from pg_prepared_xacts')).toEqual([]);
  });
}
