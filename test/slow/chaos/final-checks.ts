import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, errors, type JSONWebKeySet, jwtVerify } from 'jose';
import { factsOf } from '../../chaos-checker/facts.ts';
import type { FinalState, TokenSeen } from '../../chaos-checker/history.ts';
import { call } from '../../e2e/support/client.ts';
import type { PostgresSubject } from '../../engines/postgres/subject.ts';
import type { Player } from './actors/player.ts';
import { type Asker, introspect } from './actors/tokens.ts';
import type { Owner } from './owner.ts';
import { showsGrants, type Target } from './recorder.ts';
import type { AgentModel, HeldToken } from './world.ts';

const stepMs = 50;
/** A safety limit: on a busy machine everything here takes many times as long. */
const limitSeconds = 300;

/**
 * Repeats `check` until it returns something other than undefined. After the limit, throws with its last error as the
 * cause.
 */
async function until<Result>(what: string, check: () => Promise<Result | undefined>): Promise<Result> {
  const limitMs = performance.now() + limitSeconds * 1000;
  let cause: unknown;
  while (performance.now() < limitMs) {
    try {
      const result = await check();
      if (result !== undefined) return result;
    } catch (error) {
      cause = error;
    }
    await sleep(stepMs);
  }
  throw new Error(`final checks: waited ${limitSeconds} s until ${what}`, { cause });
}

/** Waits until every replica is ready and none of their statements has run for a moment. */
export async function allQuiet({ targets }: Player, owner: Owner): Promise<void> {
  for (const { url } of targets)
    await until(`${url}/readyz answers 200`, async () =>
      (await call(`${url}/readyz`)).status === 200 ? true : undefined,
    );
  let quiet = 0;
  await until('no session of the database runs a statement', async () => {
    const [row] = await owner.query<{ n: number }>(
      `select count(*)::integer as n from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`,
    );
    quiet = row?.n === 0 ? quiet + 1 : 0;
    return quiet >= 5 ? true : undefined;
  });
}

/** Reads every grant again. */
async function readEveryGrant(player: Player): Promise<void> {
  for (let cursor = ''; ; ) {
    const path = `/v1/grants?limit=100${cursor}`;
    const body = await until(`GET ${path} succeeds`, async () => {
      const listed = await player.perform({
        kind: 'list',
        message: { path, bearer: player.world.adminKey },
        asked: {},
        read: showsGrants,
      });
      return listed.body;
    });
    if (body.next_cursor === null) return;
    cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`;
  }
}

/**
 * Returns whether a token is active on one replica; a refusal counts as inactive. Retries while there is no response.
 */
async function opinionOf(
  player: Player,
  target: Target,
  { token, asker }: { token: HeldToken; asker: Asker },
): Promise<boolean> {
  return until(`replica ${target.replica} answers an introspection`, async () => {
    let isRefused = false;
    const perform: Player['perform'] = async (act) => {
      const performed = await player.perform(act, target);
      const { outcome, status } = performed.operation;
      isRefused = outcome === 'refused' && status !== undefined;
      return performed;
    };
    const active = await introspect({ ...player, perform }, token, asker);
    return isRefused ? false : active;
  });
}

const mostLooks = 20;

/**
 * Returns the state of a token on each replica. Retries while they differ, because the token may expire between two
 * responses.
 */
async function opinionsOf(player: Player, agent: AgentModel, token: HeldToken): Promise<boolean[]> {
  const asker = token.resource ?? agent;
  let active: boolean[] = [];
  for (let look = 0; look < mostLooks; look += 1) {
    active = [];
    for (const target of player.targets) active.push(await opinionOf(player, target, { token, asker }));
    if (new Set(active).size === 1) break;
  }
  return active;
}

async function askEveryone(player: Player): Promise<FinalState['opinions']> {
  const opinions = [];
  for (const agent of player.world.agents) {
    for (const token of [...player.prng.some(agent.tokens, 12), ...agent.brokerTokens.slice(-3)]) {
      const active = await opinionsOf(player, agent, token);
      opinions.push({ jti: token.jti, agentId: agent.id, active });
    }
  }
  return opinions;
}

type Signature = FinalState['signatures'][number]['signature'];

async function verifyAll(player: Player, tokens: readonly TokenSeen[]): Promise<FinalState['signatures']> {
  const url = player.prng.pick(player.targets)?.url ?? '';
  const published = await until(`${url}/oauth2/jwks answers 200`, async () => {
    const { status, body } = await call(`${url}/oauth2/jwks`);
    return status === 200 ? (body as JSONWebKeySet) : undefined;
  });
  const jwks = createLocalJWKSet(published);
  const verify = async ({ jti, expiresAtMs }: TokenSeen): Promise<Signature> => {
    try {
      // The time of the verification is before the expiry of the token.
      const currentDate = new Date(expiresAtMs - 1_000);
      await jwtVerify(player.recorder.rawTokens.get(jti) ?? '', jwks, { typ: 'at+jwt', currentDate });
      return 'good';
    } catch (error) {
      return error instanceof errors.JWKSNoMatchingKey ? 'no-key' : 'bad';
    }
  };
  return Promise.all(
    tokens.map(async (token) => {
      const { jti, agentId, kid } = token;
      return { jti, agentId, kid, signature: await verify(token) };
    }),
  );
}

async function readDatabase(query: Owner['query']) {
  const tokenRows = await query<{ jti: string; agentId: string }>(
    'select jti, agent_id as "agentId" from tokens',
  );
  const tokenEvents = await query<{ jti: string; agentId: string }>(
    `select object_id as jti, agent_id as "agentId" from audit_events where type = 'token.issued'`,
  );
  const requests = await query<{ id: string }>(
    `select distinct request_id as id from audit_events where outcome = 'success' and request_id is not null`,
  );
  const grantRows = await query<{ id: string; agentId: string; reason: string }>(
    'select id, agent_id as "agentId", reason from grants',
  );
  const keys = await query<{ kid: string }>(`select kid from signing_keys where state = 'compromised'`);
  return {
    tokenRows,
    tokenEvents,
    recordedRequests: new Set(requests.map(({ id }) => id)),
    grantRows,
    compromisedKids: new Set(keys.map(({ kid }) => kid)),
  };
}

/** Waits for the final sweep: no lease is left that a worker ends soon. Then reads the leases and the accounts. */
async function readLeases(owner: Owner, target: PostgresSubject) {
  await until('no lease has to be ended', async () => {
    const [row] = await owner.query<{ n: number }>(
      `select count(*)::integer as n from leases where cleaned_up_at is null and next_attempt_at < now() + interval '30 s'
          and (status <> 'active' or expires_at <= now())`,
    );
    return row?.n === 0 ? true : undefined;
  });
  const names = await target.asSuperuser<{ name: string }>(
    "select rolname as name from pg_roles where rolname like 'hp\\_%'",
  );
  const atMs = Date.now();
  const ms = (time: string) => `(extract(epoch from ${time}) * 1000)::float8`;
  const leaseRows = await owner.query<FinalState['leaseRows'][number]>(
    `select id, agent_id as "agentId", account_name as "accountName", ${ms('access_disabled_at')} as "accessDisabledAtMs",
            ${ms('least(expires_at, revoked_at)')} as "endsAtMs" from leases`,
  );
  return { leaseRows, accounts: names.map(({ name }) => ({ name, atMs })) };
}

/** Reads the complete final state, after all faults and actors have ended. */
export async function lookBack(
  player: Player,
  { owner, target }: { owner: Owner; target: PostgresSubject },
): Promise<FinalState> {
  await readEveryGrant(player);
  const opinions = await askEveryone(player);
  const { tokens } = factsOf({ operations: player.recorder.operations });
  const signatures = await verifyAll(
    player,
    [...tokens.values()].map(({ token }) => token),
  );
  const leases = await readLeases(owner, target);
  return { ...(await owner.inSnapshot(readDatabase)), ...leases, signatures, opinions };
}
