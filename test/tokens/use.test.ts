import { decodeJwt, decodeProtectedHeader } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { createServerOf, forge, grantTo, introspect, permitAll, tokenOf } from '../oauth/fixtures.ts';
import {
  agentOf,
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let first: TestBroker;
let second: TestBroker;
let agent: TestAgent;
let resource: { id: string; identifier: string };
let form: { resource: string; scope: string };

beforeAll(async () => {
  first = await startBroker({ clock });
  second = await startBroker({ clock, database: first.database });
  await createPolicy(first, permitAll);
  agent = await createAgent(first);
  resource = await createResource(first);
  form = { resource: resource.identifier, scope: 'read' };
  await grantTo(agent, resource, { duration_seconds: 7200 });
});

const statusOnV1 = async (token: string): Promise<number> =>
  (await apiOf(second, token).get('/v1/grants')).status;

describe('the use of a token on /v1', () => {
  it('is for broker tokens, on every replica, until they expire', async () => {
    const token = await tokenOf(agent);
    clock.advance(299.999);
    expect(await statusOnV1(token)).toBe(200);
    clock.advance(0.001);
    expect(await statusOnV1(token)).toBe(401);
    expect(await introspect(first, token, agent)).toEqual({ active: false });
  });

  it('is not for access tokens, with any claims', async () => {
    const access = await tokenOf(agent, form);
    expect(await statusOnV1(access)).toBe(401);
    const disguise = { aud: testIssuer, scope: 'hallpass' };
    expect(await statusOnV1(await forge(first.database, access, disguise))).toBe(401);
  });

  it('is not for tokens with another audience', async () => {
    const token = await tokenOf(agent);
    for (const change of [{ aud: resource.identifier }, { aud: [testIssuer, 'x'] }, { scope: 'read' }]) {
      expect(await statusOnV1(await forge(first.database, token, change))).toBe(401);
    }
  });
});

describe('an access token', () => {
  it('is active until it expires, even if its grant lasts longer', async () => {
    const server = await createServerOf(first, resource);
    const token = await tokenOf(agent, form);
    clock.advance(299.999);
    expect(await introspect(second, token, server)).toMatchObject({ active: true });
    clock.advance(0.001);
    expect(await introspect(second, token, server)).toEqual({ active: false });
  });

  it('is accepted by a replica that does not have its key in memory yet', async () => {
    clock.advance(400);
    const before = decodeProtectedHeader(await tokenOf(agentOf(second, agent), form)).kid;
    await asBootstrap(first).post('/v1/keys/rotate', { reason: 'due' }).expect(200);
    await asBootstrap(first).post('/v1/keys/rotate', { reason: 'leak', compromised: true }).expect(200);
    const token = await tokenOf(agent, form);
    expect(decodeProtectedHeader(token).kid).not.toBe(before);
    expect(await introspect(second, token, agent)).toMatchObject({ active: true });
  });

  it('follows a change of its resource at once, also on a replica that has the old terms in memory', async () => {
    const other = await createResource(first);
    await grantTo(agent, other, { duration_seconds: 3600 });
    const client = agentOf(second, agent);
    const mint = async () => {
      const token = await tokenOf(client, { resource: other.identifier, scope: 'read' });
      const { exp = 0, iat = 0 } = decodeJwt(token);
      return [decodeProtectedHeader(token).alg, exp - iat];
    };
    expect(await mint()).toEqual(['ES256', 300]);
    const change = { token_alg: 'EdDSA', token_ttl_seconds: 60 };
    await asBootstrap(first).patch(`/v1/resources/${other.id}`, change).expect(200);
    expect(await mint()).toEqual(['EdDSA', 60]);
  });
});
