import { beforeAll, describe, expect, it } from 'vitest';
import { asBootstrap, createPolicy, type TestAgent } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { createKey } from '../../support/key-agent.ts';
import { type Platform, startPlatform } from '../../support/test-issuer.ts';
import { createExchangeScene, type ExchangeScene, tokenType } from './exchange-scene.ts';

/** RFC 8693: an agent acts for a person, whose token a trusted issuer has issued. */
let scene: ExchangeScene;
let provider: Platform;
let trusted: string;
let agent: TestAgent;
const idToken = { subject_token_type: tokenType('id_token') };

const trust = async (on: ExchangeScene, terms: object): Promise<string> =>
  (
    await asBootstrap(on.broker)
      .post('/v1/trusted-issuers', { name: 'people', ...terms })
      .expect(201)
  ).body.id;

beforeAll(async () => {
  scene = await createExchangeScene();
  provider = await startPlatform(scene.clock);
  trusted = await trust(scene, { issuer: provider.issuer, subject_tokens: true, claims: { tenant: 'ours' } });
  agent = await scene.agent();
  await scene.holding(agent);
});

const person = (sub = 'alice', claims: object = {}, more: object = {}): Promise<string> =>
  provider.token(sub, { claims: { tenant: 'ours', ...claims }, ...more });
const ask = (token: string, form: Record<string, string> = {}, by: TestAgent | undefined = agent) =>
  scene.exchange(by, token, { ...idToken, resource: scene.resource.identifier, scope: 'read', ...form });

describe('a token for a person', () => {
  it('has a subject that is not an id of the broker, identifies the person as their issuer does, and names the actor', async () => {
    const { body } = await ask(await person()).expect(200);
    expect(body).toMatchObject({ issued_token_type: tokenType('access_token'), scope: 'read' });
    const claims = scene.claims(body.access_token);
    expect(claims).toMatchObject({
      sub: `${trusted}:alice`,
      sub_id: { format: 'iss_sub', iss: provider.issuer, sub: 'alice' },
      act: { sub: agent.id },
      client_id: agent.id,
    });
    expect(await scene.introspect(body.access_token)).toMatchObject({ active: true, ...claims });
  });

  it('never has the id of an agent or person of the broker as subject, for any name of the person', async () => {
    const { body } = await ask(await person(agent.id)).expect(200);
    expect(scene.claims(body.access_token).sub).toBe(`${trusted}:${agent.id}`);
  });

  it('expires no later than the subject token, by the clock of the broker', async () => {
    const at = Math.floor(scene.clock.now().getTime() / 1000);
    const { body } = await ask(await person('alice', { exp: at + 42 })).expect(200);
    expect(body.expires_in).toBe(42);
    await scene.expectRefused(ask(await person('alice', { iat: at - 60, exp: at - 5 })), 'invalid_request');
  });

  it('names the earlier actors as their issuer does, up to four in total', async () => {
    const chain = (length: number): object =>
      Array.from({ length }).reduce<object>(
        (act, _, n) => ({ sub: `agt_${n}`, ...(n === 0 ? {} : { act }) }),
        {},
      );
    const { body } = await ask(await person('alice', { act: chain(3) })).expect(200);
    expect(scene.claims(body.access_token).act).toEqual({
      sub: agent.id,
      act: {
        iss: provider.issuer,
        sub: 'agt_2',
        act: { iss: provider.issuer, sub: 'agt_1', act: { iss: provider.issuer, sub: 'agt_0' } },
      },
    });
    for (const act of [
      chain(4),
      chain(5),
      'agt_0',
      [],
      { sub: 5 },
      { act: { sub: 'x' } },
      null,
      { sub: '' },
      { sub: 'a\u0000' },
      { sub: '\ud800' },
      { sub: 'x'.repeat(513) },
      { iss: 'https://hallpass.test', sub: agent.id },
    ]) {
      await scene.expectRefused(ask(await person('alice', { act })), 'invalid_request');
    }
  });

  it('can be delegated by the agent that acts for the person, with the same subject', async () => {
    const { body } = await ask(await person()).expect(200);
    const helper = await scene.agent();
    const handed = await scene.exchanged(helper, body.access_token);
    expect(scene.claims(handed)).toMatchObject({
      sub: `${trusted}:alice`,
      sub_id: { format: 'iss_sub', iss: provider.issuer, sub: 'alice' },
      act: { sub: helper.id, act: { sub: agent.id } },
    });
    expect(scene.claims(handed).exp).toBe(scene.claims(body.access_token).exp);
  });

  it('needs a grant of the agent that is not a delegated one', async () => {
    const [other, parent] = [await scene.agent(), await scene.agent()];
    await scene.expectRefused(ask(await person(), {}, other), 'invalid_target');
    await scene.exchanged(other, (await scene.holding(parent)).token);
    await scene.expectRefused(ask(await person(), {}, other), 'invalid_target');
    await scene.expectRefused(ask(await person(), { scope: 'admin' }), 'invalid_scope');
    await scene.expectRefused(ask(await person(), { resource: '' }), 'invalid_target');
    await scene.expectRefused(ask(await person(), { resource: 'https://hallpass.test' }), 'invalid_target');
  });

  it('is decided by policy as delegated, separately from the grant of the agent itself', async () => {
    const on = await createExchangeScene();
    const issuer = await startPlatform(on.clock);
    await trust(on, { issuer: issuer.issuer, subject_tokens: true });
    const acting = await on.agent();
    await on.holding(acting);
    const form = { resource: on.resource.identifier, scope: 'read' };
    const token = await issuer.token('alice');
    await on.exchange(acting, token, form).expect(200);
    await createPolicy(
      on.broker,
      'forbid(principal, action == Action::"request", resource) when { context.delegated };',
    );
    await acting.token(form).expect(200);
    await on.expectRefused(on.exchange(acting, token, form), 'invalid_grant');
    await acting.token(form).expect(200);
  });
});

describe('the token of a person is refused', () => {
  it.each<[string, object, string]>([
    ['for another audience', { aud: 'https://other.test' }, 'wrong-audience'],
    [
      'with another audience in addition to the broker',
      { aud: ['https://hallpass.test', 'https://other.test'] },
      'wrong-audience',
    ],
    ['without an audience', { aud: undefined }, 'wrong-audience'],
    ['without exp', { exp: undefined }, 'wrong-claims'],
    ['without iat', { iat: undefined }, 'wrong-claims'],
    ['of another tenant', { tenant: 'theirs' }, 'wrong-conditions'],
    ['of a tenant that begins like ours', { tenant: 'ours2' }, 'wrong-conditions'],
    [
      'whose may_act names another actor',
      { may_act: { sub: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' } },
      'names another actor',
    ],
    ['with an empty may_act', { may_act: {} }, 'names another actor'],
    ['with a string as may_act', { may_act: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' }, 'names another actor'],
    ['that is bound to a key', { cnf: { jkt: 'x' } }, 'bound to a key'],
  ])('%s', async (_, claims, why) => {
    await scene.expectRefused(ask(await person('alice', claims)), 'invalid_request', why);
  });

  it('if its may_act names another issuer, and not if it names this agent', async () => {
    const named = { sub: agent.id };
    await ask(await person('alice', { may_act: named })).expect(200);
    await ask(await person('alice', { may_act: { ...named, iss: 'https://hallpass.test' } })).expect(200);
    const elsewhere = { ...named, iss: provider.issuer };
    await scene.expectRefused(ask(await person('alice', { may_act: elsewhere })), 'invalid_request');
  });

  it('if it is signed with another key, or its issuer is not trusted, or differs in a slash or in upper and lower case', async () => {
    const key = { ...createKey(), kid: provider.key.kid };
    await scene.expectRefused(ask(await person('alice', {}, { key })), 'invalid_request', 'wrong-signature');
    for (const iss of ['https://evil.test', `${provider.issuer}/`, provider.issuer.toUpperCase()]) {
      await scene.expectRefused(
        ask(await person('alice', { iss })),
        'invalid_request',
        'not a trusted subject token issuer',
      );
    }
  });

  it('if its issuer is trusted for workloads only, before and after it had subject_tokens', async () => {
    const other = await startPlatform(scene.clock);
    const id = await trust(scene, { issuer: other.issuer });
    await scene.expectRefused(
      ask(await other.token('bob')),
      'invalid_request',
      'not a trusted subject token issuer',
    );
    const change = (subject_tokens: boolean) =>
      asBootstrap(scene.broker).patch(`/v1/trusted-issuers/${id}`, { subject_tokens }).expect(200);
    expect((await change(true)).body.subject_tokens).toBe(true);
    await ask(await other.token('bob')).expect(200);
    await change(false);
    await scene.expectRefused(
      ask(await other.token('bob')),
      'invalid_request',
      'not a trusted subject token issuer',
    );
  });

  it('if two trusted issuers accept it', async () => {
    const other = await startPlatform(scene.clock);
    const terms = { issuer: other.issuer, subject_tokens: true };
    await trust(scene, terms);
    await ask(await other.token('bob')).expect(200);
    await trust(scene, { ...terms, jwks: { keys: [other.key.jwk] } });
    await scene.expectRefused(ask(await other.token('bob')), 'invalid_request', 'several-issuers');
  });

  it('with 503 if the keys of its issuer cannot be read', async () => {
    const other = await startPlatform(scene.clock);
    await trust(scene, { issuer: other.issuer, subject_tokens: true });
    other.state.isDown = true;
    const answer = await ask(await other.token('bob')).expect(503);
    expect(answer.body.error).toBe('temporarily_unavailable');
    expect(answer.headers['retry-after']).toBe('5');
  });

  it('without client authentication: it does not authenticate an agent', async () => {
    const form = { ...idToken, resource: scene.resource.identifier, scope: 'read' };
    await scene.expectRefused(scene.exchange(undefined, await person(), form), 'invalid_request');
  });
});

describe('what was obtained with the subject token of an issuer ends when', () => {
  it.each<[string, (id: string) => Promise<unknown>]>([
    [
      'the issuer is deleted',
      (id) => asBootstrap(scene.broker).delete(`/v1/trusted-issuers/${id}`).expect(204),
    ],
    ['it is trusted for workloads alone', (id) => change(id, { subject_tokens: false })],
    ['it has other keys', (id) => change(id, { jwks: { keys: [createKey().jwk] } })],
    ['it is held to more', (id) => change(id, { claims: { tenant: 'ours', level: 2 } })],
  ])('ends at once when %s, and so does what was delegated', async (_, withdraw) => {
    const other = await startPlatform(scene.clock);
    const id = await trust(scene, { issuer: other.issuer, subject_tokens: true });
    const helper = await scene.agent();
    const { body } = await ask(await other.token('bob')).expect(200);
    const narrower = await scene.exchanged(agent, body.access_token);
    const { body: handed } = await scene.exchange(helper, body.access_token).expect(200);
    const mine = await ask(await person()).expect(200);
    await withdraw(id);
    for (const token of [body.access_token, narrower, handed.access_token]) {
      expect(await scene.introspect(token)).toEqual({ active: false });
    }
    const form = { resource: scene.resource.identifier, grant_id: handed.grant_id };
    await scene.expectRefused(helper.token(form), 'invalid_grant');
    await scene.expectRefused(scene.exchange(helper, body.access_token), 'invalid_request');
    const shown = await asBootstrap(scene.broker).get(`/v1/grants/${handed.grant_id}`).expect(200);
    expect(shown.body.status).toBe('revoked');
    const { rows: events } = await scene.broker.database.owner.query(
      "select object_id, details from audit_events where type = 'grant.revoked' and grant_id = $1",
      [handed.grant_id],
    );
    const reason = 'the trusted issuer of its subject token changed or is no longer trusted';
    expect(events).toEqual([{ object_id: id, details: { reason } }]);
    // The tokens of other issuers stay active, and the ended ones do not become active again.
    expect(await scene.introspect(mine.body.access_token)).toMatchObject({ active: true });
    await asBootstrap(scene.broker).patch(`/v1/trusted-issuers/${id}`, { subject_tokens: true });
    expect(await scene.introspect(body.access_token)).toEqual({ active: false });
  });

  const change = (id: string, terms: object) =>
    asBootstrap(scene.broker).patch(`/v1/trusted-issuers/${id}`, terms).expect(200);
});

describe('a subject token of an issuer', () => {
  it('yields no token once subject_tokens is withdrawn, even while one is being issued', async () => {
    const other = await startPlatform(scene.clock);
    const id = await trust(scene, { issuer: other.issuer, subject_tokens: true });
    const { owner } = scene.broker.database;
    // This statement runs after the exchange has accepted the subject token, and before the statement that writes the
    // new token.
    await owner.query('begin');
    await owner.query('lock table policy_epoch in access exclusive mode');
    const asked = ask(await other.token('bob')).then((answer) => answer);
    await eventually(async () => {
      const { rows } = await owner.query(
        "select from pg_locks where not granted and relation = 'policy_epoch'::regclass",
      );
      expect(rows.length).toBeGreaterThan(0);
    });
    await owner.query('update trusted_issuers set subject_tokens = false, epoch = epoch + 1 where id = $1', [
      id,
    ]);
    await owner.query('commit');
    expect((await asked).status).toBe(400);
  });
});
