import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, errors, type JSONWebKeySet, jwtVerify } from 'jose';
import { call } from '../e2e/support/client.ts';
import type { Player } from './actors/player.ts';
import { introspect } from './actors/tokens.ts';
import { factsOf } from './facts.ts';
import type { Ending, TokenSeen } from './history.ts';
import type { Owner } from './owner.ts';
import { showsGrants } from './recorder.ts';
import type { AgentModel, HeldToken } from './world.ts';

const stepMs = 50;
const mostSteps = 600;

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  for (let step = 0; step < mostSteps; step += 1) {
    if (await check().catch(() => false)) return;
    await sleep(stepMs);
  }
  throw new Error(`${what}: not after ${(stepMs * mostSteps) / 1000} s`);
}

/** Every replica is ready, and no statement of theirs has run for a moment. */
export async function allQuiet({ targets }: Player, owner: Owner): Promise<void> {
  for (const { url } of targets)
    await until(`${url} is ready`, async () => (await call(`${url}/readyz`)).status === 200);
  let quiet = 0;
  await until('no transaction runs', async () => {
    const [row] = await owner.query<{ n: number }>(
      `select count(*)::integer as n from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`,
    );
    quiet = row?.n === 0 ? quiet + 1 : 0;
    return quiet >= 5;
  });
}

/** Looks at every grant once more. */
async function readEveryGrant(player: Player): Promise<void> {
  for (let cursor = ''; ; ) {
    const { operation, body } = await player.perform({
      kind: 'list',
      message: { path: `/v1/grants?limit=100${cursor}`, bearer: player.world.adminKey },
      asked: {},
      read: showsGrants,
    });
    if (operation.outcome !== 'ok') throw new Error(`grants cannot be read at the end: ${operation.status}`);
    if (body.next_cursor === null) return;
    cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`;
  }
}

const mostLooks = 20;

/** What each replica says of a token; asked again while they differ, because its time may come between two answers. */
async function opinionsOf(player: Player, agent: AgentModel, token: HeldToken): Promise<boolean[]> {
  let active: boolean[] = [];
  for (let look = 0; look < mostLooks; look += 1) {
    active = [];
    for (const target of player.targets) {
      const there: Player = { ...player, perform: (act) => player.perform(act, target) };
      active.push((await introspect(there, token, token.resource ?? agent)) === true);
    }
    if (new Set(active).size === 1) break;
  }
  return active;
}

async function askEveryone(player: Player): Promise<Ending['opinions']> {
  const opinions = [];
  for (const agent of player.world.agents) {
    for (const token of [...player.prng.some(agent.tokens, 12), ...agent.brokerTokens.slice(-3)]) {
      const active = await opinionsOf(player, agent, token);
      opinions.push({ jti: token.jti, agentId: agent.id, active });
    }
  }
  return opinions;
}

type Signature = Ending['signatures'][number]['signature'];

async function verifyAll(player: Player, tokens: readonly TokenSeen[]): Promise<Ending['signatures']> {
  const url = player.prng.pick(player.targets)?.url ?? '';
  const jwks = createLocalJWKSet((await call(`${url}/oauth2/jwks`)).body as JSONWebKeySet);
  const verify = async ({ jti, expiresAtMs }: TokenSeen): Promise<Signature> => {
    try {
      // At a time at which it had not expired.
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

async function readDatabase(owner: Owner) {
  const tokenRows = await owner.query<{ jti: string; agentId: string }>(
    'select jti, agent_id as "agentId" from tokens',
  );
  const tokenEvents = await owner.query<{ jti: string; agentId: string }>(
    `select object_id as jti, agent_id as "agentId" from audit_events where type = 'token.issued'`,
  );
  const requests = await owner.query<{ id: string }>(
    `select distinct request_id as id from audit_events where outcome = 'success' and request_id is not null`,
  );
  const grantRows = await owner.query<{ id: string; agentId: string; reason: string }>(
    'select id, agent_id as "agentId", reason from grants',
  );
  const keys = await owner.query<{ kid: string }>(`select kid from signing_keys where state = 'compromised'`);
  return {
    tokenRows,
    tokenEvents,
    recordedRequests: new Set(requests.map(({ id }) => id)),
    grantRows,
    compromisedKids: new Set(keys.map(({ kid }) => kid)),
  };
}

/** Looks at everything once more, now that nothing fails and nobody acts. */
export async function lookBack(player: Player, owner: Owner): Promise<Ending> {
  await readEveryGrant(player);
  const opinions = await askEveryone(player);
  const { tokens } = factsOf({ operations: player.recorder.operations });
  const signatures = await verifyAll(
    player,
    [...tokens.values()].map(({ token }) => token),
  );
  return { ...(await readDatabase(owner)), signatures, opinions };
}
