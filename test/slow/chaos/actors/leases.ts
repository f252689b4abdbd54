import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Outcome } from '../../../chaos-checker/history.ts';
import { scopesByRisk } from '../../../chaos-checker/risks.ts';
import { showsGrant, showsLease } from '../recorder.ts';
import type { AgentModel, HeldLease } from '../world.ts';
import { callAsAgent } from './agent.ts';
import { keep, type Player } from './player.ts';

const timeoutMs = 10_000;
/** The SQLSTATEs of a refused login: the account does not exist, may not log in, or has another password. */
const loginRefused = new Set(['28000', '28P01']);

/** Logs in to the target as an agent would. */
async function logInWith({ username: user, ...rest }: HeldLease['credential']): Promise<Outcome> {
  const client = new pg.Client({ ...rest, user, ssl: false, connectionTimeoutMillis: timeoutMs });
  client.on('error', () => {});
  try {
    await client.connect();
    return 'ok';
  } catch (error) {
    const { code = '' } = error as { code?: string };
    return loginRefused.has(code) ? 'refused' : 'unknown';
  } finally {
    await client.end().catch(() => {});
  }
}

const logIn = ({ recorder, name }: Player, { id, agentId, credential }: HeldLease): Promise<void> =>
  recorder.performLogin(name, { agentId, leaseId: id }, () => logInWith(credential));

/** Requests a grant for the target and a lease under it. */
async function make(player: Player, agent: AgentModel): Promise<HeldLease | undefined> {
  const { prng, world } = player;
  agent.requestCount += 1;
  const [key, scopes] = [`${agent.id}-${agent.requestCount}`, [...scopesByRisk.low]];
  const durationSeconds = prng.between(5, 60);
  const terms = { resource: world.target.identifier, scopes, duration_seconds: durationSeconds, reason: key };
  const requested = await callAsAgent(player, agent, {
    kind: 'request',
    message: { path: '/v1/grants', json: terms, headers: { 'Idempotency-Key': key } },
    asked: { key, scopes, durationSeconds },
    read: showsGrant,
  });
  if (requested?.body === undefined) return undefined;
  const asked = { grant_id: requested.body.id, ttl_seconds: prng.between(2, 30) };
  const made = await callAsAgent(player, agent, {
    kind: 'lease',
    message: { path: '/v1/leases', json: asked },
    asked: {},
    read: showsLease,
  });
  if (made?.body === undefined) return undefined;
  const lease = { id: made.body.id, agentId: agent.id, credential: made.body.credential };
  keep(world.leases, lease, 30);
  return lease;
}

async function renew(player: Player, agent: AgentModel, { id }: HeldLease): Promise<void> {
  await callAsAgent(player, agent, {
    kind: 'renew-lease',
    message: { path: `/v1/leases/${id}/renew`, json: { ttl_seconds: player.prng.between(2, 30) } },
    asked: { leaseId: id },
    read: showsLease,
  });
}

const mostLooks = 12;

/** Revokes a lease, and reads it until its access has ended. */
async function revoke({ prng, world, perform }: Player, { id, agentId }: HeldLease): Promise<void> {
  const bearer = world.adminKey;
  const asked = { agentId, leaseId: id };
  const revoking = { path: `/v1/leases/${id}/revoke`, bearer, json: {} };
  const { operation } = await perform({ kind: 'revoke-lease', message: revoking, asked, read: showsLease });
  if (operation.outcome !== 'ok') return;
  for (let look = 0; look < mostLooks; look += 1) {
    const message = { path: `/v1/leases/${id}`, bearer };
    const shown = await perform({ kind: 'read-lease', message, asked, read: showsLease });
    if ((shown.operation.answered.lease?.accessDisabledAtMs ?? null) !== null) return;
    await sleep(prng.between(50, 250));
  }
}

/** Makes a lease, uses it, sometimes renews or revokes it, and uses it and earlier ones again. */
export async function actAsLeaseHolder(player: Player, agent: AgentModel): Promise<void> {
  const { prng, world } = player;
  const lease = await make(player, agent);
  if (lease !== undefined) {
    await logIn(player, lease);
    if (prng.chance(0.4)) await renew(player, agent, lease);
    if (prng.chance(0.7)) await revoke(player, lease);
    await logIn(player, lease);
  }
  for (const earlier of prng.some(world.leases, 2)) await logIn(player, earlier);
}
