import { Agent } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { type Answer, call } from '../../e2e/support/client.ts';
import { grantTo, permitAll, tokenOf } from '../../oauth/fixtures.ts';
import { exchangeGrant, tokenType } from '../../oauth/token-exchange/exchange-scene.ts';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../../support/broker.ts';
import { parallel, tally } from '../../support/count.ts';
import { createReadyHolder } from '../../support/dpop.ts';
import { eventually } from '../../support/eventually.ts';

let broker: TestBroker;
let resource: { id: string; identifier: string };
let agents: TestAgent[];
beforeAll(async () => {
  // The token endpoint delays refusals for overload, so the clock must advance by itself.
  broker = await startBroker({ clock: systemClock });
  await createPolicy(broker, permitAll);
  resource = await createResource(broker);
  agents = await parallel(12, () => createAgent(broker));
});

/** The most requests that the broker accepts at a time: for grants 4 that run and 128 that wait, for exchanges 128 in total. */
const maxAccepted = 4 + 128;
const asked = maxAccepted + 30;

type Ask = (index: number, connections: Agent) => Promise<Answer>;

async function requestsForGrants(): Promise<Ask> {
  const tokens = await parallel(agents.length, (index) => tokenOf(agents[index] as TestAgent));
  return (index, agent) => {
    const bearer = tokens[index % tokens.length] ?? '';
    return call(`${broker.url}/v1/grants`, { bearer, json: grantRequest(resource.identifier), agent });
  };
}

const exchangeOf = (subject_token: string) => ({
  grant_type: exchangeGrant,
  subject_token,
  subject_token_type: tokenType('access_token'),
});

async function exchanges(): Promise<Ask> {
  const parent = await createAgent(broker);
  const parentGrant = { resource: resource.identifier, grant_id: await grantTo(parent, resource) };
  const subject_token = await tokenOf(parent, parentGrant);
  const form = exchangeOf(subject_token);
  return (index, agent) => {
    const { id, secret } = agents[index % agents.length] as TestAgent;
    return call(`${broker.url}/oauth2/token`, { basic: `${id}:${secret}`, form, agent });
  };
}

const lockOf = ({ id }: TestAgent): string =>
  `select pg_advisory_xact_lock(hashtextextended('hallpass.grants ${id}', 0))`;

/** Runs `work` while another session holds locks, which are released even if `work` fails. */
async function whileLocked(statement: string, work: () => Promise<void>): Promise<void> {
  await broker.database.owner.query(`begin; ${statement}`);
  try {
    await work();
  } finally {
    await broker.database.owner.query('rollback');
  }
}

/** Resolves when `count` sessions wait for a lock in this database. */
const waiting = (count: number): Promise<void> =>
  eventually(async () => {
    const { rows } = await broker.database.owner.query(
      `select count(distinct pid)::integer as n from pg_locks where not granted and pid in (
         select l.pid from pg_locks l join pg_database d on d.oid = l.database where d.datname = current_database())`,
    );
    expect(rows[0]?.n).toBe(count);
  });

describe('a lock that many requests share', () => {
  it('is granted to an earlier writer before later readers', async () => {
    const api = await (agents[0] as TestAgent).api();
    let changed: Promise<unknown> | undefined;
    let granted: Promise<unknown> | undefined;
    const answers: string[] = [];
    // The locks that a request for a grant holds while it is being decided.
    const share = `select pg_advisory_xact_lock_shared(hashtextextended('hallpass.resource ${resource.id}', 0));
      select from resources where id = '${resource.id}' for share`;
    await whileLocked(share, async () => {
      const change = { name: 'renamed' };
      changed = Promise.resolve(asBootstrap(broker).patch(`/v1/resources/${resource.id}`, change)).then(
        ({ status }) => answers.push(`changed ${status}`),
      );
      await waiting(1);
      granted = Promise.resolve(api.post('/v1/grants', grantRequest(resource.identifier))).then(
        ({ status }) => answers.push(`granted ${status}`),
      );
      await waiting(2);
      expect(answers).toEqual([]);
    });
    await Promise.all([changed, granted]);
    expect(answers.sort()).toEqual(['changed 200', 'granted 201']);
  });

  it('makes an exchange wait for others that have an ancestor grant of the same agent', async () => {
    const [parent, middle, leaf] = await parallel(3, () => createAgent(broker));
    if (parent === undefined || middle === undefined || leaf === undefined) throw new Error('no agents');
    const parentGrant = { resource: resource.identifier, grant_id: await grantTo(parent, resource) };
    const exchange = (token: string, agent: TestAgent) =>
      oauthPost(broker, '/oauth2/token', exchangeOf(token), agent);
    const first = await exchange(await tokenOf(parent, parentGrant), middle).expect(200);
    let second: Promise<{ status: number }> | undefined;
    await whileLocked(lockOf(parent), async () => {
      second = Promise.resolve(exchange(first.body.access_token, leaf));
      await waiting(1);
    });
    expect((await second)?.status).toBe(200);
  });
});

describe('more exchanges of an agent than are admitted', () => {
  it('are refused before any work is done for them; the others succeed', async () => {
    const [parent, greedy] = [await createAgent(broker), await createAgent(broker)];
    const parentGrant = { resource: resource.identifier, grant_id: await grantTo(parent, resource) };
    const form = exchangeOf(await tokenOf(parent, parentGrant));
    const basic = `${greedy.id}:${greedy.secret}`;
    const connections = new Agent({ keepAlive: true });
    const keyHolder = await createReadyHolder({ now: () => new Date() }, greedy);
    const proof = await keyHolder.prove('POST', '/oauth2/token');
    const countUsed = async (): Promise<number> =>
      (await broker.database.owner.query('select count(*)::integer as n from used_values')).rows[0].n;
    let refused = 0;
    let flood: Promise<Answer[]> | undefined;
    await whileLocked(lockOf(parent), async () => {
      flood = parallel(100, async () => {
        const answer = await call(`${broker.url}/oauth2/token`, { basic, form, agent: connections });
        if (answer.status === 503) refused += 1;
        return answer;
      });
      await eventually(async () => expect(refused).toBe(36));
      const before = await countUsed();
      await oauthPost(broker, '/oauth2/token', form, greedy).set('DPoP', proof).expect(503);
      expect(await countUsed()).toBe(before);
    });
    expect(tally((await flood) ?? [])).toEqual({ 200: 64, 503: 36 });
    connections.destroy();
  });
});

describe('more concurrent requests for grants than can be decided', () => {
  it('of one agent do not delay other agents', async () => {
    const [greedy, other] = [await createAgent(broker), await createAgent(broker)];
    const [bearer, api] = [await tokenOf(greedy), await other.api()];
    const request = grantRequest(resource.identifier);
    const connections = new Agent({ keepAlive: true });
    let flood: Promise<Answer[]> | undefined;
    await whileLocked(lockOf(greedy), async () => {
      flood = parallel(100, () =>
        call(`${broker.url}/v1/grants`, { bearer, json: request, agent: connections }),
      );
      await waiting(1);
      for (let n = 0; n < 5; n += 1) await api.post('/v1/grants', request).timeout(2_000).expect(201);
    });
    expect(tally((await flood) ?? [])).toEqual({ 201: 65, 503: 35 });
    connections.destroy();
  });

  it.each([
    ['requests for grants', requestsForGrants, 201],
    ['exchanges that make delegated grants', exchanges, 200],
  ])('%s are refused with Retry-After, and a revocation does not wait for those that were accepted', async (_, prepare, good) => {
    const ask = await prepare();
    const revoked = await tokenOf(agents[0] as TestAgent);
    const connections = new Agent({ keepAlive: true, maxSockets: asked });
    let refused = 0;
    let last = (): void => {};
    const allRefused = new Promise<void>((resolve) => {
      last = resolve;
    });
    const all = async (index: number): Promise<Answer> => {
      const answer = await ask(index, connections);
      if (answer.status !== 503) return answer;
      expect(answer.headers['retry-after']).toBe('1');
      refused += 1;
      if (refused === asked - maxAccepted) last();
      return answer;
    };
    let answers: Promise<Answer[]> | undefined;
    // Grants can be read, but not written.
    await whileLocked('lock table grants in share row exclusive mode', async () => {
      answers = parallel(asked, all);
      await allRefused;
      await oauthPost(broker, '/oauth2/revoke', { token: revoked }, agents[0]).timeout(2_000).expect(200);
    });
    const statuses = tally((await answers) ?? []);
    expect(Object.keys(statuses)).toEqual([String(good), '503']);
    // Accepted requests wait at most 5 s for a lock.
    expect(statuses[good]).toBeGreaterThanOrEqual(maxAccepted - 4);
    connections.destroy();
    expect((await ask(0, new Agent())).status).toBe(good);
  });
});
