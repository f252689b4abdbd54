import { expect } from 'vitest';
import { expectRefusal } from '../oauth/fixtures.ts';
import { asBootstrap, createPerson, oauthPost, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { assertionType } from '../support/key-agent.ts';
import { createTestOutbound, type Platform, startPlatform } from '../support/test-issuer.ts';

export const bearerGrant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
export const refusedClient = { status: 401, error: 'invalid_client' };
export const refusedGrant = { status: 400, error: 'invalid_grant' };
type Form = Record<string, string>;

export type FederationScene = Awaited<ReturnType<typeof createFederationScene>>;

/** Starts two replicas that trust a platform. Returns functions that register workloads as agents and request tokens for them. */
export async function createFederationScene() {
  const clock = new FakeClock();
  const overrides = { outbound: createTestOutbound() };
  const broker: TestBroker = await startBroker({ clock, overrides });
  const { database } = broker;
  const replica: TestBroker = await startBroker({
    clock,
    database,
    overrides: { outbound: createTestOutbound() },
  });
  const platform: Platform = await startPlatform(clock);
  let subjectCount = 0;

  async function trust(terms: object): Promise<string> {
    const created = await asBootstrap(broker)
      .post('/v1/trusted-issuers', { name: 'platform', ...terms })
      .expect(201);
    return created.body.id;
  }
  const trusted = await trust({ issuer: platform.issuer });

  const asClient = (token: string, more: Form = {}, on: { url: string } = broker) =>
    oauthPost(on, '/oauth2/token', {
      grant_type: 'client_credentials',
      client_assertion: token,
      client_assertion_type: assertionType,
      ...more,
    });
  const asGrant = (assertion: string, more: Form = {}, on: { url: string } = broker) =>
    oauthPost(on, '/oauth2/token', { grant_type: bearerGrant, assertion, ...more });

  return {
    clock,
    broker,
    replica,
    platform,
    trusted,
    trust,
    asClient,
    asGrant,
    /** Registers an agent whose identity is a new subject of the platform. */
    async createFederated(identity: object = {}): Promise<{ id: string; sub: string }> {
      subjectCount += 1;
      const sub = `repo:octo-org/repo-${subjectCount}:ref:refs/heads/main`;
      const created = await asBootstrap(broker)
        .post('/v1/agents', {
          name: 'federated',
          environment: 'production',
          owner: (await createPerson(broker)).id,
          token_endpoint_auth_method: 'federated_jwt',
          identity: { trusted_issuer_id: trusted, subject: sub, ...identity },
        })
        .expect(201);
      return { id: created.body.id, sub: created.body.identity.subject };
    },
    /**
     * Asserts that the token is refused as client assertion and as grant, with an answer that does not issueToken
     * why.
     */
    async expectRefused(token: string, more: Form = {}): Promise<void> {
      await expectRefusal(broker, asClient(token, more), refusedClient);
      const granted = await expectRefusal(broker, asGrant(token, more), refusedGrant);
      expect(granted.body.error_description).toBe('the assertion is not valid');
    },
  };
}
