import { benchAccountPrefix } from './lease-accounts.ts';
import { type BenchDatabase, type BenchPostgres, withClient } from './postgres.ts';

/**
 * Creates rows as years of use would leave them, in the database itself, and analyzes the tables. Each chunk is a
 * transaction.
 */
const agents = 1000;
const sessions = 2;

/** Runs `text` for the numbers from 1 to `count` in chunks ($1 to $2), in two sessions. */
async function inChunks(
  url: string,
  { count, chunkRows, text }: { count: number; chunkRows: number; text: string },
): Promise<void> {
  let next = 1;
  const session = (): Promise<void> =>
    withClient(url, async (client) => {
      // Triggers and foreign keys would find nothing in correct rows.
      await client.query(
        'set session_replication_role = replica; set synchronous_commit = off; set jit = off',
      );
      while (next <= count) {
        const from = next;
        next += chunkRows;
        await client.query(text, [from, Math.min(from + chunkRows - 1, count)]);
      }
    });
  await Promise.all(Array.from({ length: sessions }, session));
}

/** Builds an id with the length of a TypeID that sorts before every new one. */
const idOf = (prefix: string, number: string): string => `'${prefix}_01' || lpad(to_hex(${number}), 24, '0')`;

/**
 * Tokens are kept until the day after their expiry: a third of them in each of the partitions of today, yesterday and
 * the day before, but none with an expiry after `now`.
 */
const tokenTimes = `
select n, agent, exp, exp - interval '300 seconds' as iat from (
  select n, 'agt_01' || lpad(to_hex(n % ${agents}), 24, '0') as agent,
         date_trunc('day', now()) - (2 - (3 * (n - 1)) / $3::bigint) * interval '1 day'
           + ((3 * (n - 1)) % $3::bigint)::float8 / $3::bigint
           * (case when (3 * (n - 1)) / $3::bigint < 2 then interval '1 day' else now() - date_trunc('day', now()) end) as exp
    from generate_series($1::bigint, $2::bigint) n
) times`;

const insertTokens = `
insert into tokens (jti, exp, iat, agent_id, agent_epoch, secret_id, auth_method, grant_id, resource_id,
  resource_epoch, scopes, kid)
select ${idOf('tok', 'n')}, exp, iat, agent, 1, ${idOf('sec', `n % ${agents}`)}, 'client_secret_basic',
  ${idOf('grt', `n % ${agents}`)}, ${idOf('res', '1')}, 1, array['read'], ${idOf('key', '1')} from (${tokenTimes}) t`;

const insertEvents = `
insert into audit_events (id, at, type, outcome, actor_kind, actor_id, agent_id, grant_id, object_id, request_id,
  source_ip, details)
select ${idOf('evt', 'n')}, iat, 'token.issued', 'success', 'agent', agent, agent, ${idOf('grt', `n % ${agents}`)},
  ${idOf('tok', 'n')}, ${idOf('req', 'n')}, '10.0.0.1', jsonb_build_object('scope', 'read', 'exp',
  extract(epoch from exp)::bigint, 'kid', ${idOf('key', '1')}, 'auth_method', 'client_secret_basic')
  from (${tokenTimes}) t`;

/** Creates tokens and as many events, in the order and partitions in which minting would have left them. */
export async function fillTokens(
  postgres: BenchPostgres,
  database: BenchDatabase,
  count: number,
): Promise<void> {
  await withClient(database.adminUrl, (client) =>
    client.query("select ensure_partitions(now() - interval '3 days', now() + interval '1 day')"),
  );
  // A thousand per transaction, because events are ordered by the number of their transaction.
  const chunkRows = 1000;
  const withCount = (text: string): string => text.replaceAll('$3', String(count));
  await postgres.withBothCores(async () => {
    await inChunks(database.adminUrl, { count, chunkRows, text: withCount(insertTokens) });
    await inChunks(database.adminUrl, { count, chunkRows, text: withCount(insertEvents) });
  });
  await withClient(database.adminUrl, (client) => client.query('vacuum analyze tokens, audit_events'));
}

const copyAgents = `
insert into agents (id, name, owner_id, environment, token_endpoint_auth_method, labels, created_at, created_by, updated_at)
select ${idOf('agt', 'n')}, 'agent ' || n, owner_id, environment, token_endpoint_auth_method, labels, created_at,
  created_by, updated_at from agents, generate_series(0, ${agents - 1}) n`;

/**
 * Inserts `$3` grants in the order of their requests. The older half has ended. Of the newer half, `$4` have expired within
 * the last hour, in the order of their creation, spread among those that are active.
 */
const insertGrants = `
insert into grants (id, agent_id, resource_id, status, version, requested_scopes, requested_duration_seconds, scopes,
  duration_seconds, reason, request_digest, request_facts, approvals_required, approval_facts, decision_policies,
  owner_at_request, agent_epoch, resource_epoch, requested_at, lapses_at, decided_at, starts_at, expires_at, ended_at,
  ended_by)
select ${idOf('grt', 'n')}, ${idOf('agt', `n % ${agents}`)}, resource_id,
  case when ended then 'expired' else 'active' end, case when ended then 2 else 1 end, requested_scopes,
  requested_duration_seconds, scopes, duration_seconds, reason, request_digest, request_facts, approvals_required,
  approval_facts, decision_policies, owner_at_request, agent_epoch, resource_epoch, requested_at - age, lapses_at - age,
  decided_at - age, starts_at - age, expires, case when ended then expires end, case when ended then 'expire-grants' end
  from (select resource_id, requested_scopes, requested_duration_seconds, scopes, duration_seconds, reason,
          request_digest, request_facts, approvals_required, approval_facts, decision_policies, owner_at_request,
          agent_epoch, resource_epoch, requested_at, lapses_at, decided_at, starts_at from grants where id = 'TEMPLATE') g,
       lateral (
         select n, 2 * n <= $3::bigint as ended, (2 * n * $4::bigint) % $3::bigint < 2 * $4::bigint as due,
           ($3::bigint - n)::float8 / $3::bigint as part from generate_series($1::bigint, $2::bigint) n) numbers,
       lateral (
         select interval '2 days' + interval '10 days' * part as age,
           case when ended then now() - interval '1 day' - interval '10 days' * part
                when due then now() - interval '2 hours' * part
                else now() + interval '1 day' + interval '1 hour' * (1 - part) end as expires) times`;

/**
 * Creates grants of a thousand other agents as copies of an existing one; `due` of them have expired but are not
 * written as ended.
 */
export async function fillGrants(
  postgres: BenchPostgres,
  database: BenchDatabase,
  { count, due, like }: { count: number; due: number; like: string },
): Promise<void> {
  const text = insertGrants
    .replaceAll('$3', String(count))
    .replaceAll('$4', String(due))
    .replace('TEMPLATE', like);
  await withClient(database.adminUrl, (client) => client.query(copyAgents));
  await postgres.withBothCores(() => inChunks(database.adminUrl, { count, chunkRows: 20_000, text }));
  await withClient(database.adminUrl, (client) => client.query('vacuum analyze'));
}

/** Leases under the grants of the agent, in turn, whose accounts were made an hour ago and which expired a minute ago. */
const insertLeases = `
insert into leases (id, grant_id, agent_id, resource_id, connection_id, account_name, status, created_at,
  create_deadline_at, activated_at, expires_at, next_attempt_at)
select ${idOf('lse', 'n')}, g.id, g.agent_id, g.resource_id, g.connection_id, '${benchAccountPrefix}' || n, 'active',
  now() - interval '1 hour', now() - interval '59 minutes', now() - interval '1 hour', now() - interval '1 minute',
  now() - interval '1 minute'
  from generate_series($1::bigint + FROM - 1, $2::bigint + FROM - 1) n join (
    select g.id, g.agent_id, g.resource_id, r.connection_id, row_number() over (order by g.id) - 1 as place,
           count(*) over () as grants
      from grants g join resources r on r.id = g.resource_id where r.kind = 'postgres') g on g.place = n % g.grants`;

/** Creates expired leases whose accounts have the numbers from `from` on, under every grant for a PostgreSQL target. */
export async function fillLeases(
  postgres: BenchPostgres,
  database: BenchDatabase,
  { count, from }: { count: number; from: number },
): Promise<void> {
  const text = insertLeases.replaceAll('FROM', String(from));
  await postgres.withBothCores(() => inChunks(database.adminUrl, { count, chunkRows: 20_000, text }));
  await withClient(database.adminUrl, (client) => client.query('vacuum analyze leases'));
}
