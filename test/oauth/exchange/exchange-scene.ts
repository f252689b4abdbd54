import { decodeJwt, type JWTPayload } from 'jose';
import type supertest from 'supertest';
import { expect } from 'vitest';
import {
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { createTestOutbound } from '../../support/test-issuer.ts';
import { createServerOf, introspect, permitAll, tokenOf } from '../fixtures.ts';

export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const tokenType = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`;
type Form = Record<string, string>;
type Client = { id: string; secret: string };

export type ExchangeScene = Awaited<ReturnType<typeof createExchangeScene>>;

/** Two replicas, a resource, and agents that hand on what they have. */
export async function createExchangeScene(policy: string | undefined = permitAll) {
  const clock = new FakeClock();
  const overrides = () => ({ outbound: createTestOutbound() });
  const broker: TestBroker = await startBroker({ clock, overrides: overrides() });
  const { database } = broker;
  const replica: TestBroker = await startBroker({ clock, database, overrides: overrides() });
  if (policy !== undefined) await createPolicy(broker, policy);
  const details = { authorization_details_types: [{ type: 'llm' }] };
  const resource = await createResource(broker, details);
  const server = await createServerOf(broker, resource);

  /** An exchange by `client`, or by nobody but the token. */
  const exchange = (
    client: Client | undefined,
    token: string,
    more: Form = {},
    on = broker,
  ): supertest.Test =>
    oauthPost(
      on,
      '/oauth2/token',
      {
        grant_type: exchangeGrant,
        subject_token: token,
        subject_token_type: tokenType('access_token'),
        ...more,
      },
      client,
    );
  const exchanged = async (client: Client, token: string, more: Form = {}): Promise<string> =>
    (await exchange(client, token, more).expect(200)).body.access_token;
  /** A grant of the agent, and a token under it. */
  async function holding(agent: TestAgent, request: object = {}, form: Form = {}) {
    const api = await agent.api();
    const terms = { scopes: ['read', 'write'], ...request };
    const { body: grant } = await api
      .post('/v1/grants', grantRequest(resource.identifier, terms))
      .expect(201);
    const token = await tokenOf(agent, { resource: resource.identifier, grant_id: grant.id, ...form });
    return { grantId: grant.id as string, token };
  }
  return {
    clock,
    broker,
    replica,
    resource,
    exchange,
    exchanged,
    holding,
    agent: (options: Parameters<typeof createAgent>[1] = {}) => createAgent(broker, options),
    introspect: (token: string) => introspect(broker, token, server),
    claims: (token: string): JWTPayload & Record<string, unknown> => decodeJwt(token),
    async expectRefused(attempt: supertest.Test, error: string, why?: string): Promise<void> {
      const refused = await attempt.expect(400);
      expect(refused.body.error).toBe(error);
      if (why !== undefined) expect(refused.body.error_description).toContain(why);
      expect(refused.headers['cache-control']).toBe('no-store');
      expect(refused.body).not.toHaveProperty('access_token');
    },
  };
}
