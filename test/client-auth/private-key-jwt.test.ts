import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  basicAuth,
  countTokens,
  dropUsedValues,
  eventsOf,
  expectRefusal,
  postRaw,
} from '../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  oauthPost,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  type AssertionTerms,
  createKey,
  createKeyAgent,
  type KeyAgent,
  proofOf,
} from '../support/key-agent.ts';

const clock = new FakeClock();
const grant = { grant_type: 'client_credentials' };
const tokenUrl = `${testIssuer}/oauth2/token`;
let broker: TestBroker;
let replica: TestBroker;
let agent: KeyAgent;
let place: { url: string; now: () => Date };

beforeAll(async () => {
  broker = await startBroker({ clock });
  replica = await startBroker({ clock, database: broker.database });
  place = { url: broker.url, now: () => clock.now() };
  agent = await createKeyAgent(place);
});

const seconds = (from: number): number => Math.floor(clock.now().getTime() / 1000) + from;
const post = (form: Record<string, string>, on: { url: string } = broker) =>
  oauthPost(on, '/oauth2/token', { ...grant, ...form });
const stranger = { status: 401, error: 'invalid_client' };
const expectRefused = (form: Record<string, string>, expected = stranger) =>
  expectRefusal(broker, post(form), expected);

describe('an agent that signs an assertion', () => {
  it('gets a token, and the audit log has its authentication method', async () => {
    const before = (await eventsOf(broker.database, 'token.issued')).length;
    const issued = await post(proofOf(await agent.assert())).expect(200);
    expect(issued.body).toMatchObject({ token_type: 'Bearer', scope: 'hallpass' });
    const events = await eventsOf(broker.database, 'token.issued');
    expect(events).toHaveLength(before + 1);
    expect(events.at(-1)).toMatchObject({ actor_id: agent.id, details: { auth_method: 'private_key_jwt' } });
  });

  it('may also send its own client_id, but no other', async () => {
    await post({ ...proofOf(await agent.assert()), client_id: agent.id }).expect(200);
    const other = await createKeyAgent(place);
    await expectRefused({ ...proofOf(await agent.assert()), client_id: other.id });
  });

  it('can introspect and revoke with an assertion, too', async () => {
    const token = (await agent.token()).body.access_token;
    const ask = async () =>
      (await oauthPost(broker, '/oauth2/introspect', { token, ...proofOf(await agent.assert()) }).expect(200))
        .body.active;
    expect(await ask()).toBe(true);
    await oauthPost(broker, '/oauth2/revoke', { token, ...proofOf(await agent.assert()) }).expect(200);
    expect(await ask()).toBe(false);
  });

  it('has the method private_key_jwt in the facts of policy', async () => {
    await createPolicy(
      broker,
      'permit(principal, action == Action::"request", resource) when { context.auth_method == "private_key_jwt" };',
    );
    const resource = await createResource(broker);
    const request = { resource: resource.identifier, scopes: ['admin'], duration_seconds: 60, reason: 'r' };
    await (await agent.api()).post('/v1/grants', request).expect(201);
    const token = await agent.token({ resource: resource.identifier, scope: 'admin' });
    expect(token.status).toBe(200);
    const withSecret = await createAgent(broker);
    await (await withSecret.api()).post('/v1/grants', request).expect(403);
  });
});

describe('an assertion', () => {
  it('can be used only once, on whichever replica and endpoint', async () => {
    const form = proofOf(await agent.assert());
    await post(form).expect(200);
    await expectRefused(form);
    await post(form, replica).expect(401);
    await oauthPost(replica, '/oauth2/introspect', { token: 'x', ...form }).expect(401);
    await oauthPost(replica, '/oauth2/revoke', { token: 'x', ...form }).expect(401);
  });

  it('cannot be used again during the tolerated clock difference after its expiry, in which an unused one is still accepted', async () => {
    const exp = seconds(2);
    const form = proofOf(await agent.assert({ claims: { exp } }));
    const late = proofOf(await agent.assert({ claims: { exp } }));
    await post(form).expect(200);
    clock.advance(60);
    await expectRefused(form);
    await post(late).expect(200);
  });

  it('counts as used even if nothing was issued for it', async () => {
    const form = proofOf(await agent.assert());
    await post({ ...form, scope: 'read' }).expect(400);
    await expectRefused(form);
  });

  it('cannot be used again in another encoding or with another signature', async () => {
    const claims = { jti: randomUUID() };
    const first = await agent.assert({ claims });
    await post(proofOf(first)).expect(200);
    await expectRefused(proofOf(`${first}\n`), { status: 400, error: 'invalid_request' });
    await expectRefused(proofOf(`${first}=`));
    const signedAgain = await agent.assert({ claims });
    expect(signedAgain).not.toBe(first);
    await expectRefused(proofOf(signedAgain));
  });

  it('of another client with the same jti is not a replay', async () => {
    const other = await createKeyAgent(place);
    const claims = { jti: randomUUID() };
    await post(proofOf(await agent.assert({ claims }))).expect(200);
    await post(proofOf(await other.assert({ claims }))).expect(200);
  });

  it('gets one token if it is sent fifty times at once to two replicas', async () => {
    const before = await countTokens(broker.database);
    const form = proofOf(await agent.assert());
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) => post(form, n % 2 === 0 ? broker : replica)),
    );
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([200, ...Array(49).fill(401)]);
    expect(await countTokens(broker.database)).toBe(before + 1);
  });

  it('does not count as used if the database cannot store it, which is answered with 500', async () => {
    const form = proofOf(await agent.assert());
    await broker.database.owner.query('alter table used_values rename to used_values_away');
    await post(form).expect(500);
    await broker.database.owner.query('alter table used_values_away rename to used_values');
    await post(form).expect(200);
  });

  it('creates the missing partition for its day, at every endpoint', async () => {
    const token = (await agent.token()).body.access_token;
    for (const [endpoint, fields] of Object.entries({
      token: grant,
      introspect: { token },
      revoke: { token },
    })) {
      const form = { ...fields, ...proofOf(await agent.assert()) };
      await dropUsedValues(broker.database);
      await oauthPost(broker, `/oauth2/${endpoint}`, form).expect(200);
      await oauthPost(replica, `/oauth2/${endpoint}`, form).expect(401);
    }
  });
});

const bad: [string, () => AssertionTerms][] = [
  ['the token endpoint as audience', () => ({ claims: { aud: tokenUrl } })],
  ['several audiences', () => ({ claims: { aud: [testIssuer, 'https://other.example'] } })],
  ['the issuer as audience in a list', () => ({ claims: { aud: [testIssuer] } })],
  ['the issuer with a slash', () => ({ claims: { aud: `${testIssuer}/` } })],
  ['no audience', () => ({ claims: { aud: undefined } })],
  ['no exp', () => ({ claims: { exp: undefined } })],
  ['a string as exp', () => ({ claims: { exp: String(seconds(60)) } })],
  ['an exp a day ahead', () => ({ claims: { exp: seconds(3600 * 24) } })],
  ['an exp in the past', () => ({ claims: { exp: seconds(-61) } })],
  ['an nbf more than 61 s ahead', () => ({ claims: { nbf: seconds(62) } })],
  ['no jti', () => ({ claims: { jti: undefined } })],
  ['another subject', () => ({ claims: { sub: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' } })],
  [
    'an unknown client',
    () => ({ claims: { iss: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c', sub: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' } }),
  ],
  [
    'a person',
    () => ({ claims: { iss: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c', sub: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c' } }),
  ],
  ['a client id with NUL', () => ({ claims: { iss: 'agt_\u0000b', sub: 'agt_\u0000b' } })],
  ['a subject with NUL', () => ({ claims: { sub: 'a\u0000b' } })],
  ['an issuer with NUL', () => ({ claims: { iss: 'a\u0000b' } })],
  ['half of a surrogate pair', () => ({ claims: { iss: '\ud800', sub: '\ud800' } })],
  ['another kid', () => ({ header: { kid: 'unknown' } })],
  ['the type of an access token', () => ({ header: { typ: 'at+jwt' } })],
];

describe('an assertion is refused in the same way with', () => {
  it.each(bad)('%s', async (_, terms) => {
    const answer = await expectRefused(proofOf(await agent.assert(terms())));
    expect(answer.body).toEqual({
      error: 'invalid_client',
      error_description: 'Client authentication failed',
    });
  });

  it('NUL in iss or sub, at introspection and revocation', async () => {
    for (const claims of [
      { iss: 'agt_\u0000', sub: 'agt_\u0000' },
      { iss: 'x', sub: '\u0000' },
    ]) {
      const form = { token: 'x', ...proofOf(await agent.assert({ claims })) };
      for (const endpoint of ['introspect', 'revoke'])
        await oauthPost(broker, `/oauth2/${endpoint}`, form).expect(401);
    }
  });

  it('another key under the same kid', async () => {
    const key = createKey({ kid: agent.key.kid });
    await expectRefused(proofOf(await agent.assert({ key })));
  });

  it('an access token of the broker in its place', async () => {
    await expectRefused(proofOf((await agent.token()).body.access_token));
  });

  it('a resource server as the client', async () => {
    const { id } = await createResource(broker);
    await expectRefused(proofOf(await agent.assert({ claims: { iss: id, sub: id } })));
  });

  it('a disabled agent', async () => {
    const disabled = await createKeyAgent(place);
    await disabled.api();
    await asBootstrap(broker).post(`/v1/agents/${disabled.id}/disable`).expect(200);
    await expectRefused(proofOf(await disabled.assert()));
  });
});

describe('a request with an assertion', () => {
  it('must have both parameters, the right type, and no other client authentication', async () => {
    const assertion = await agent.assert();
    const malformed = { status: 400, error: 'invalid_request' };
    await expectRefused({ client_assertion: assertion }, malformed);
    await expectRefused({ client_assertion_type: 'x' }, malformed);
    await expectRefused({ client_assertion: assertion, client_assertion_type: 'urn:other' });
    await expectRefused({ ...proofOf(assertion), client_id: agent.id, client_secret: 's' }, malformed);
    const body = new URLSearchParams({ ...grant, ...proofOf(assertion) }).toString();
    const basic = postRaw(broker, body, basicAuth({ id: agent.id, secret: 's' }));
    await expectRefusal(broker, basic, malformed);
    await post(proofOf(assertion)).expect(200);
  });
});

describe('an agent with legacy_audience', () => {
  it('may name the token endpoint or several audiences, but not only other audiences', async () => {
    const old = await createKeyAgent(place, { legacy_audience: true });
    for (const aud of [testIssuer, tokenUrl, [tokenUrl], [testIssuer, 'https://other.example']]) {
      await post(proofOf(await old.assert({ claims: { aud } }))).expect(200);
    }
    for (const aud of ['https://other.example', ['https://other.example'], []]) {
      await expectRefused(proofOf(await old.assert({ claims: { aud } })));
    }
  });

  it('gets the setting on every replica within a second', async () => {
    const legacy_audience = true;
    const other = await createKeyAgent(place);
    await expectRefused(proofOf(await other.assert({ claims: { aud: tokenUrl } })));
    await asBootstrap(broker).patch(`/v1/agents/${other.id}`, { legacy_audience }).expect(200);
    await post(proofOf(await other.assert({ claims: { aud: tokenUrl } }))).expect(200);
    await post(proofOf(await other.assert({ claims: { aud: tokenUrl } })), replica).expect(200);
    await asBootstrap(broker).patch(`/v1/agents/${other.id}`, { legacy_audience: false }).expect(200);
    clock.advance(1);
    await expectRefused(proofOf(await other.assert({ claims: { aud: tokenUrl } })));
    await post(proofOf(await other.assert({ claims: { aud: tokenUrl } })), replica).expect(401);
  });
});
