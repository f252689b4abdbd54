import { Agent } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { call } from '../../e2e/support/client.ts';
import {
  countTokens,
  createServerOf,
  grantTo,
  introspect,
  permitAll,
  tokenOf,
} from '../../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../../support/broker.ts';
import { parallel, tally } from '../../support/count.ts';

let broker: TestBroker;
let agent: TestAgent;
let resource: { id: string; identifier: string };
beforeAll(async () => {
  // Refusals are delayed.
  broker = await startBroker({ clock: systemClock });
  await createPolicy(broker, permitAll);
  resource = await createResource(broker);
  agent = await createAgent(broker);
});

/** The number of rows in two statements of 256, and of the rows that may wait. */
const most = 2 * 256 + 1_024;
const asked = most + 250;

describe('more requests for tokens than can be written', () => {
  it('are refused with Retry-After, and nothing is done for them; waiting requests are answered, and others continue', async () => {
    const server = await createServerOf(broker, resource);
    const form = { grant_type: 'client_credentials', resource: resource.identifier, scope: 'read' };
    const other = await createAgent(broker);
    const [grant, otherGrant] = [await grantTo(agent, resource), await grantTo(other, resource)];
    const token = await tokenOf(agent, { ...form, grant_id: grant });
    const before = await countTokens(broker.database);
    const connections = new Agent({ keepAlive: true, maxSockets: asked });
    // Rows can be read, but not written.
    await broker.database.owner.query('begin; lock table tokens in share row exclusive mode');
    const sentAway: string[] = [];
    let soonest = Infinity;
    let first = (): void => {};
    const isFull = new Promise<void>((resolve) => {
      first = resolve;
    });
    const answers = parallel(asked, async () => {
      const basic = `${agent.id}:${agent.secret}`;
      const askedAt = performance.now();
      const answer = await call(`${broker.url}/oauth2/token`, { basic, form, agent: connections });
      if (answer.status !== 503) return answer;
      soonest = Math.min(soonest, performance.now() - askedAt);
      sentAway.push(`${answer.headers['retry-after']} ${answer.body.error}`);
      if (sentAway.length === asked - most) first();
      return answer;
    });
    await isFull;
    expect(await introspect(broker, token, server)).toMatchObject({ active: true });
    await asBootstrap(broker).post(`/v1/grants/${otherGrant}/revoke`, { reason: 'now' }).expect(200);
    await broker.database.owner.query('rollback');

    const statuses = tally(await answers);
    connections.destroy();
    expect(Object.keys(statuses)).toEqual(['200', '503']);
    expect(statuses[200]).toBeGreaterThanOrEqual(1_024);
    expect(statuses[503]).toBeGreaterThanOrEqual(asked - most);
    expect(new Set(sentAway)).toEqual(new Set(['1 temporarily_unavailable']));
    // Callers that retry at once must not delay the admitted requests.
    expect(soonest).toBeGreaterThan(240);
    // The audit log has no events of the refused requests, because they were not read.
    expect(await countTokens(broker.database)).toBe(before + (statuses[200] ?? 0));
    await agent.token(form).expect(200);
  });
});
