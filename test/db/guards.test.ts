import { sql } from 'kysely';
import { beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

/** Tests of what the database itself refuses to every role. */
let database: TestDatabase;

const rows = {
  admin: `insert into admins (id, name, email, roles, groups, created_at, updated_at)
    values ('adm_1', 'A', 'a@example.com', '{admin}', '{}', now(), now())`,
  agent: `insert into agents (id, name, owner_id, environment, token_endpoint_auth_method, labels, created_at, created_by, updated_at)
    values ('agt_1', 'a', 'adm_1', 'production', 'client_secret_basic', '{}', now(), 'adm_1', now())`,
  resource: `insert into resources (id, identifier, name, kind, labels, scopes, max_grant_seconds, token_ttl_seconds, token_alg, created_at, created_by, updated_at)
    values ('res_1', 'https://a.example', 'a', 'api', '{}', '[]', 3600, 300, 'ES256', now(), 'adm_1', now())`,
  grant: `insert into grants (id, agent_id, resource_id, status, requested_scopes, requested_duration_seconds, scopes,
      duration_seconds, reason, request_digest, request_facts, approvals_required, decision_policies, owner_at_request,
      agent_epoch, resource_epoch, requested_at, lapses_at)
    values ('grt_1', 'agt_1', 'res_1', 'pending', '{read,write}', 60, '{read}', 60, 'r', 'd', '{}', 1, '[]', 'adm_1', 1, 1, now(), now())`,
  call: `insert into calls (id, request_id, at, grant_id, agent_id, token_id, resource_id, scope, method, path)
    values ('cal_1', 'r', now(), 'grt_1', 'agt_1', 't', 'res_1', 'read', 'GET', '/a')`,
};

beforeAll(async () => {
  database = await createTestDatabase();
  for (const statement of Object.values(rows)) await sql.raw(statement).execute(database.db);
});

const run = (statement: string) => sql.raw(statement).execute(database.db);

describe('the application role', () => {
  it.each([
    ['update audit events', 'update audit_events set type = type'],
    ['delete audit events', 'delete from audit_events'],
    ['truncate audit events', 'truncate audit_events'],
    ['update an approval', 'update approvals set note = null'],
    ['delete a grant', 'delete from grants'],
    ['delete a token row', 'delete from tokens'],
    ['extend the lifetime of a token', "update tokens set exp = exp + interval '1 day'"],
    ['rewrite a policy version', "update policy_versions set cedar = ''"],
    [
      'insert into the history of owners',
      "insert into agent_owners (agent_id, owner_id, since) values ('agt_1', 'adm_1', now())",
    ],
    ['rewrite the history of owners', 'update agent_owners set until = null'],
    ['delete an owner', 'delete from agent_owners'],
    ['change the path of a call', "update calls set path = '/b'"],
    ['change the grant of a call', "update calls set grant_id = 'grt_1'"],
    ['delete a call', 'delete from calls'],
    ['truncate the calls', 'truncate calls'],
    ['drop a table', 'drop table tokens'],
    ['create a table', 'create table mine (a int)'],
    ['disable a trigger', 'alter table grants disable trigger grants_ended'],
    ['create a role', 'create role mine'],
    ['add a partition without the function', "select add_partition('tokens', 'x', now(), now())"],
  ])('cannot %s', async (_what, statement) => {
    await expect(run(statement)).rejects.toMatchObject({ code: '42501' });
  });

  it('cannot change the owner of an agent without a row in its history', async () => {
    await run(`insert into admins (id, name, email, roles, groups, created_at, updated_at)
      values ('adm_2', 'B', 'b@example.com', '{}', '{}', now(), now())`);
    for (const [owner, at] of [
      ['adm_2', '2090-01-01Z'],
      ['adm_2', '2090-01-02Z'],
      // The clock was set back.
      ['adm_1', '2089-01-01Z'],
    ]) {
      await run(`update agents set owner_id = '${owner}', updated_at = '${at}' where id = 'agt_1'`);
    }
    const { rows } = await sql`select owner_id, until::text from agent_owners order by id`.execute(
      database.db,
    );
    expect(rows).toEqual([
      { owner_id: 'adm_1', until: '2090-01-01 00:00:00+00' },
      { owner_id: 'adm_2', until: '2090-01-01 00:00:00+00' },
      { owner_id: 'adm_1', until: null },
    ]);
  });

  it('may create partitions through the function, which creates each one once', async () => {
    const made = await sql<{
      n: number;
    }>`select ensure_partitions('2026-05-01Z', '2026-05-03Z') as n`.execute(database.db);
    const again = await sql<{
      n: number;
    }>`select ensure_partitions('2026-05-01Z', '2026-05-03Z') as n`.execute(database.db);
    expect([made.rows[0]?.n, again.rows[0]?.n]).toEqual([7, 0]);
  });

  it('cannot make the function search another schema, or create partitions without limit', async () => {
    await expect(run("select ensure_partitions('2026-01-01Z', '2036-01-01Z')")).rejects.toMatchObject({
      code: '22023',
    });
  });

  it('drops only partitions past their retention, even if its own clock is decades ahead', async () => {
    await database.owner.query("select ensure_partitions('2020-01-31T00:00:00Z', '2020-02-01T00:00:00Z')");
    await database.owner.query("select ensure_partitions(now() - interval '9 days', now())");
    const before = await partitions();
    await run("select drop_partitions('2099-01-01Z')");
    const after = await partitions();
    const gone = before.filter((name) => !after.includes(name));
    expect(gone).toEqual(
      expect.arrayContaining(['audit_events_202001', 'audit_events_202002', 'tokens_20200131']),
    );
    expect(gone.filter((name) => name.startsWith('audit_events_2026'))).toEqual([]);
    const today = new Date().toISOString().slice(0, 10).replaceAll('-', '');
    expect(after).toContain(`tokens_${today}`);
  });
});

async function partitions(): Promise<string[]> {
  const result = await database.owner.query<{ name: string }>(
    'select inhrelid::regclass::text as name from pg_inherits where inhparent in ($1::regclass, $2::regclass)',
    ['tokens', 'audit_events'],
  );
  return result.rows.map((row) => row.name);
}

describe('the database', () => {
  it('increases the version with every change of a grant', async () => {
    await run("update grants set reason = 'other' where id = 'grt_1'");
    const result = await sql<{ version: number }>`select version from grants where id = 'grt_1'`.execute(
      database.db,
    );
    expect(result.rows[0]?.version).toBe(2);
  });

  it('never lowers an epoch', async () => {
    await run("update agents set epoch = 5 where id = 'agt_1'");
    await expect(run("update agents set epoch = 4 where id = 'agt_1'")).rejects.toMatchObject({
      code: '23001',
    });
    await expect(run('update policy_epoch set epoch = 0')).rejects.toMatchObject({ code: '23001' });
  });

  it('never widens a grant beyond what was requested', async () => {
    await expect(run("update grants set scopes = '{read,admin}'")).rejects.toMatchObject({ code: '23514' });
    await expect(run('update grants set duration_seconds = 61')).rejects.toMatchObject({ code: '23514' });
  });

  it('allows no transition out of a terminal state', async () => {
    await run("update grants set status = 'denied' where id = 'grt_1'");
    await expect(run("update grants set status = 'active' where id = 'grt_1'")).rejects.toMatchObject({
      code: '23001',
    });
    await expect(run("update grants set reason = 'x' where id = 'grt_1'")).rejects.toMatchObject({
      code: '23001',
    });
  });

  it('keeps the outcome of a call once it is written, for every role', async () => {
    const end = "update calls set ended_at = now(), outcome = 'failed' where id = 'cal_1'";
    await run(end);
    for (const change of [
      end,
      "update calls set outcome = 'completed', upstream_status = 200 where id = 'cal_1'",
      "update calls set ended_at = null, outcome = null where id = 'cal_1'",
    ]) {
      await expect(run(change)).rejects.toMatchObject({ code: '23000' });
      await expect(database.owner.query(change)).rejects.toMatchObject({ code: '23000' });
    }
    const { rows } = await sql`select outcome, upstream_status from calls`.execute(database.db);
    expect(rows).toEqual([{ outcome: 'failed', upstream_status: null }]);
  });

  it('has one active and one prepared key per algorithm', async () => {
    const key = (kid: string, state: string) =>
      run(
        `insert into signing_keys (kid, alg, state, public_jwk, private_sealed, created_at) values ('${kid}', 'ES256', '${state}', '{}', '', now())`,
      );
    await key('k1', 'active');
    await key('k2', 'prepared');
    await expect(key('k3', 'active')).rejects.toMatchObject({ constraint: 'signing_keys_one_active' });
    await expect(key('k3', 'prepared')).rejects.toMatchObject({ constraint: 'signing_keys_one_prepared' });
  });

  it('fails an audit event without a partition, instead of storing it in a default partition', async () => {
    const insert = run(
      "insert into audit_events (id, at, type, outcome, actor_kind, actor_id, details) values ('e', '2031-01-01Z', 't', 'success', 'system', 's', '{}')",
    );
    await expect(insert).rejects.toMatchObject({ code: '23514' });
  });
});
