import pg from 'pg';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { atEnd } from '../support/at-end.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

/**
 * Tests that an attacker with the application login gains nothing by creating functions, operators and casts that the
 * broker's functions might call, in a database where every role may create in the schema public (as before PostgreSQL 15).
 */
let database: TestDatabase;
let attacker: pg.Client;
let role: string;

beforeAll(async () => {
  database = await createTestDatabase();
  role = new URL(database.url).username;
  await database.owner.query('grant create on schema public to public');
  attacker = new pg.Client({ connectionString: database.url });
  await attacker.connect();
  await attacker.query('set search_path = public, pg_catalog, pg_temp');
  atEnd(() => attacker.end());
  for (const plant of plants) await attacker.query(plant);
});

/**
 * Makes a function body that gives the attacker access to the audit log, if the function runs as a role that may grant it,
 * and then returns what the caller expects.
 */
const body = (instead: string): string => `language plpgsql as $f$ begin
    begin execute 'grant delete on public.audit_events to ' operator(pg_catalog.||) session_user::text;
    exception when insufficient_privilege then null; end;
    ${instead}
  end $f$`;

// Each matches the types of a call better than the system's own, or precedes it if public is searched first.
const plants = [
  `create function public.format(text, text, text) returns text ${body('return pg_catalog.format($1, $2, $3);')}`,
  `create function public.format(text, name) returns text ${body('return pg_catalog.format($1, $2);')}`,
  `create function public.format(text, text, text, timestamptz, timestamptz) returns text
    ${body('return pg_catalog.format($1, $2, $3, $4, $5);')}`,
  `create function public.pg_advisory_xact_lock(integer) returns void ${body('')}`,
  `create function public.date_trunc(text, timestamptz) returns timestamptz
    ${body('return pg_catalog.date_trunc($1, $2);')}`,
  `create function public.same(oid, regclass) returns boolean ${body('return $1 operator(pg_catalog.=) $2::oid;')}`,
  'create operator public.= (leftarg = oid, rightarg = regclass, function = public.same)',
  `create function public.sum(integer, integer) returns integer ${body('return $1 operator(pg_catalog.+) $2;')}`,
  'create operator public.+ (leftarg = integer, rightarg = integer, function = public.sum)',
  `create function public.never(bigint, bigint) returns boolean ${body('return false;')}`,
  'create operator public.< (leftarg = bigint, rightarg = bigint, function = public.never)',
  'create operator public.>= (leftarg = bigint, rightarg = bigint, function = public.never)',
  `create type public.instant as enum ('2033-01-01')`,
  `create function public.to_time(public.instant) returns timestamptz ${body("return '2033-01-01Z'::timestamptz;")}`,
  'create cast (public.instant as timestamptz) with function public.to_time(public.instant) as implicit',
];

async function mayDelete(): Promise<boolean> {
  const { rows } = await database.owner.query(
    `select has_table_privilege($1, 'public.audit_events', 'DELETE') as may`,
    [role],
  );
  return rows[0].may;
}

let year = 2010;

/**
 * Creates partitions that are long past their retention, and drops them again, so that every statement of the
 * functions runs.
 */
async function makeAndDrop(): Promise<void> {
  year += 1;
  const made = await attacker.query(
    `select public.ensure_partitions('${year}-01-01Z', '${year}-01-02Z') as n`,
  );
  expect(made.rows[0].n).toBe(5);
  const dropped = await attacker.query("select public.drop_partitions('2026-01-01Z') as n");
  expect(dropped.rows[0].n).toBe(5);
}

beforeEach(async () => {
  await database.owner.query(`revoke delete on public.audit_events from ${role}`);
});

describe('functions, operators and casts that the application login creates', () => {
  it.each([
    ['ensure_partitions(timestamptz, timestamptz)', 'pg_catalog, public, pg_temp'],
    ['add_partition(text, text, timestamptz, timestamptz)', 'pg_catalog, public, pg_temp'],
    ['drop_partitions(timestamptz)', 'pg_catalog, public, pg_temp'],
  ])('would be called by %s if it searched the schema public', async (name, path) => {
    await database.owner.query(`alter function ${name} set search_path = ${path}`);
    await makeAndDrop();
    expect(await mayDelete()).toBe(true);
    await database.owner.query(`alter function ${name} set search_path = pg_catalog, pg_temp`);
  });

  it('are not called by the functions that run as the owner', async () => {
    await makeAndDrop();
    await attacker.query('select public.continue_audit_order()');
    expect(await mayDelete()).toBe(false);
  });

  it('are called only as the login itself, to convert its own arguments', async () => {
    const call =
      "select public.ensure_partitions('2033-01-01'::public.instant, '2033-01-01'::public.instant) as n";
    expect((await attacker.query(call)).rows[0].n).toBe(3);
    expect(await mayDelete()).toBe(false);
  });

  it('do not disable the triggers of the tables', async () => {
    await database.owner.query(`
      insert into admins (id, name, email, roles, groups, created_at, updated_at)
      values ('adm_1', 'A', 'a@example.com', '{}', '{}', now(), now());
      insert into agents (id, name, owner_id, environment, token_endpoint_auth_method, labels, epoch, created_at,
        created_by, updated_at)
      values ('agt_1', 'a', 'adm_1', 'production', 'client_secret_basic', '{}', 5, now(), 'adm_1', now())`);
    const fall = attacker.query("update public.agents set epoch = 4 where id = 'agt_1'");
    await expect(fall).rejects.toMatchObject({ code: '23001' });
  });
});

describe('every function of the broker', () => {
  const planted = 'proowner <> (select oid from pg_roles where rolname = session_user)';

  it('searches only the system schema', async () => {
    const { rows } = await database.owner.query(
      `select proname, proconfig from pg_proc where pronamespace = 'public'::regnamespace and not ${planted}`,
    );
    expect(rows.length).toBeGreaterThan(8);
    for (const { proname, proconfig } of rows) {
      expect(proconfig, proname).toContain('search_path=pg_catalog, pg_temp');
    }
  });

  it('may be executed by the application login only, unless it is a trigger or runs as its caller', async () => {
    const { rows } = await database.owner.query(
      `select proname from pg_proc
        where pronamespace = 'public'::regnamespace and not ${planted} and prorettype <> 'trigger'::regtype
          and has_function_privilege('public', oid, 'EXECUTE') order by proname`,
    );
    const names = rows.map(({ proname }) => proname);
    expect(names).toEqual([
      'ancestors_ended_at',
      'ancestors_expire_at',
      'ancestors_version',
      'audit_position',
      'canonical_conditions',
      'line_ended_at',
      'line_expires_at',
      'line_holds',
      'line_version',
      'subject_issuer_ended_at',
      'subject_tokens_ended_at',
      'subjects_ended_at',
      'subjects_hold',
      'unbound_token_ended_at',
      'word_holds',
    ]);
  });
});
