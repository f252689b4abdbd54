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
import { createServerOf, introspect, permitAll } from '../fixtures.ts';

export const exchangeGrant = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const tokenType = (name: string): string => `urn:ietf:params:oauth:token-type:${name}`;
type Form = Record<string, string>;
type Client = { id: string; secret: string };
/** A client of the scene: an agent with any kind of credential. */
type Asking = Pick<TestAgent, 'api'> & { token(form: Form): PromiseLike<supertest.Response> };

export type ExchangeScene = Awaited<ReturnType<typeof createExchangeScene>>;

/** Creates two replicas, a resource, and agents that delegate to each other. */
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

  /** Requests an exchange as `client`, or without client authentication. */
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
  /** Requests a grant of the agent, and a token under it. */
  async function holding(agent: Asking, request: object = {}, form: Form = {}) {
    const api = await agent.api();
    const terms = { scopes: ['read', 'write'], ...request };
    const { body: grant } = await api
      .post('/v1/grants', grantRequest(resource.identifier, terms))
      .expect(201);
    const named = { resource: resource.identifier, grant_id: grant.id };
    const { status, text, body } = await agent.token({ ...named, ...form });
    expect(status, text).toBe(200);
    return { grantId: grant.id as string, token: body.access_token as string };
  }
  const claims = (token: string): JWTPayload & Record<string, unknown> => decodeJwt(token);
  const agent = (options: Parameters<typeof createAgent>[1] = {}) => createAgent(broker, options);
  /** Creates a chain: a grant of `root`, one delegated from it, and one delegated from that, each with its token. */
  async function chain<Root extends Asking>(root: Root) {
    const [middle, leaf] = [await agent(), await agent()];
    const { grantId, token } = await holding(root);
    const ofMiddle = await exchanged(middle, token);
    const ofLeaf = await exchanged(leaf, ofMiddle);
    const grantOf = (text: string): string => String(claims(text).grant_id);
    return {
      root,
      middle,
      leaf,
      rootGrant: grantId,
      middleGrant: grantOf(ofMiddle),
      leafGrant: grantOf(ofLeaf),
      tokens: [token, ofMiddle, ofLeaf] as const,
    };
  }
  return {
    clock,
    broker,
    replica,
    resource,
    exchange,
    exchanged,
    holding,
    chain,
    agent,
    introspect: (token: string) => introspect(broker, token, server),
    claims,
    async expectRefused(attempt: supertest.Test, error: string, why?: string): Promise<void> {
      const refused = await attempt.expect(400);
      expect(refused.body.error).toBe(error);
      if (why !== undefined) expect(refused.body.error_description).toContain(why);
      expect(refused.headers['cache-control']).toBe('no-store');
      expect(refused.body).not.toHaveProperty('access_token');
    },
  };
}
