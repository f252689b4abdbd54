import { Agent } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/platform/clock.ts';
import { type Answer, call } from '../e2e/support/client.ts';
import { exchangeGrant, tokenType } from '../oauth/exchange/exchange-scene.ts';
import { grantTo, permitAll, tokenOf } from '../oauth/fixtures.ts';
import {
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { parallel, tally } from '../support/count.ts';

let broker: TestBroker;
let resource: { id: string; identifier: string };
let agents: TestAgent[];
beforeAll(async () => {
  // Who is sent away from the token endpoint is told so a while later.
  broker = await startBroker({ clock: systemClock });
  await createPolicy(broker, permitAll);
  resource = await createResource(broker);
  agents = await parallel(12, () => createAgent(broker));
});

/** What is made at a time, and what may wait. */
const most = 4 + 128;
const asked = most + 30;

type Ask = (index: number, connections: Agent) => Promise<Answer>;

async function requestsForGrants(): Promise<Ask> {
  const tokens = await parallel(agents.length, (index) => tokenOf(agents[index] as TestAgent));
  return (index, agent) => {
    const bearer = tokens[index % tokens.length] ?? '';
    return call(`${broker.url}/v1/grants`, { bearer, json: grantRequest(resource.identifier), agent });
  };
}

async function exchanges(): Promise<Ask> {
  const holder = await createAgent(broker);
  const held = { resource: resource.identifier, grant_id: await grantTo(holder, resource) };
  const subject_token = await tokenOf(holder, held);
  const form = { grant_type: exchangeGrant, subject_token, subject_token_type: tokenType('access_token') };
  return (index, agent) => {
    const { id, secret } = agents[index % agents.length] as TestAgent;
    return call(`${broker.url}/oauth2/token`, { basic: `${id}:${secret}`, form, agent });
  };
}

describe('more at a time than can be decided', () => {
  it.each([
    ['requests for grants', requestsForGrants, 201],
    ['exchanges that hand grants down', exchanges, 200],
  ])('%s are sent away with Retry-After; who revokes does not wait for them', async (_, prepare, good) => {
    const ask = await prepare();
    const revoked = await tokenOf(agents[0] as TestAgent);
    const connections = new Agent({ keepAlive: true, maxSockets: asked });
    // Grants can be read, and none be written.
    await broker.database.owner.query('begin; lock table grants in share row exclusive mode');
    let sentAway = 0;
    let first = (): void => {};
    const isFull = new Promise<void>((resolve) => {
      first = resolve;
    });
    const answers = parallel(asked, async (index) => {
      const answer = await ask(index, connections);
      if (answer.status !== 503) return answer;
      expect(answer.headers['retry-after']).toBe('1');
      sentAway += 1;
      if (sentAway === asked - most) first();
      return answer;
    });
    await isFull;
    await oauthPost(broker, '/oauth2/revoke', { token: revoked }, agents[0]).timeout(2_000).expect(200);
    await broker.database.owner.query('rollback');
    const statuses = tally(await answers);
    expect(Object.keys(statuses)).toEqual([String(good), '503']);
    // Those who were let in wait for a lock no longer than 5 s.
    expect(statuses[good]).toBeGreaterThanOrEqual(most - 4);
    connections.destroy();
    expect((await ask(0, new Agent())).status).toBe(good);
  });
});
