import { calculateJwkThumbprint, decodeJwt } from 'jose';
import type supertest from 'supertest';
import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import { expectRefusal } from '../oauth/fixtures.ts';
import { exchangeGrant, tokenType } from '../oauth/token-exchange/exchange-scene.ts';
import { asBootstrap, createAgent, oauthPost, startBroker, type TestBroker } from '../support/broker.ts';
import { createHolder, type Holder } from '../support/dpop.ts';
import { eventually } from '../support/eventually.ts';
import { assertionType, createKeyAgent } from '../support/key-agent.ts';
import { createTestOutbound } from '../support/test-issuer.ts';
import {
  createFederationScene,
  type FederationScene,
  refusedClient,
  refusedGrant,
} from './federation-scene.ts';

/**
 * Tests that claims that restrict who may use a token (`cnf`, `may_act`) are checked wherever a token of another party is
 * read. A token with `cnf` needs a proof of its key, a token with `may_act` the actor that it names.
 */
let scene: FederationScene;
/** A replica whose log lines are kept. */
let broker: TestBroker;
const lines: string[] = [];
const tokenPath = '/oauth2/token';

beforeAll(async () => {
  scene = await createFederationScene();
  const { clock } = scene;
  const { database } = scene.broker;
  const log = createLog('info', { write: (line) => lines.push(line) });
  const config = { dpopNonce: 'optional' as const };
  broker = await startBroker({ clock, database, log, config, overrides: { outbound: createTestOutbound() } });
});

type Ask = (token: string) => supertest.Test;
const asSubject: Ask = (token) =>
  oauthPost(broker, tokenPath, {
    grant_type: exchangeGrant,
    subject_token: token,
    subject_token_type: tokenType('jwt'),
  });
const refusedSubject = { status: 400, error: 'invalid_request' };

/** Every use of a platform token that authenticates its workload, with the response to an invalid token. */
const uses: [string, Ask, { status: number; error: string }][] = [
  ['a client assertion', (token) => scene.asClient(token, {}, broker), refusedClient],
  ['a jwt-bearer grant', (token) => scene.asGrant(token, {}, broker), refusedGrant],
  ['a subject token', asSubject, refusedSubject],
];

const jktOf = (holder: Holder): Promise<string> => calculateJwkThumbprint(holder.key.jwk);

/** Waits until the log has the reason for the refusal of this answer. */
async function expectLogged(answer: supertest.Response, reason: string): Promise<void> {
  const id = answer.headers['x-request-id'] ?? '';
  await eventually(async () => {
    const about = lines.filter((line) => line.includes(id) && line.includes('client authentication failed'));
    expect(about.join()).toContain(reason);
  });
}

describe.each(uses)('a platform’s token as %s', (_, ask, refused) => {
  it('with cnf is refused without a proof of its key, or with a proof of another key, and the reason is logged', async () => {
    const { sub } = await scene.createFederated();
    const [holder, thief] = [createHolder(scene.clock), createHolder(scene.clock)];
    const bound = await scene.platform.token(sub, { claims: { cnf: { jkt: await jktOf(holder) } } });
    const without = await expectRefusal(broker, ask(bound), refused);
    await expectLogged(without, 'unproved-key');
    const stolen = ask(bound).set('DPoP', await thief.prove('POST', tokenPath));
    await expectLogged(await expectRefusal(broker, stolen, refused), 'unproved-key');
    const elsewhere = ask(bound).set('DPoP', await holder.prove('POST', '/oauth2/revoke'));
    const invalid = await expectRefusal(broker, elsewhere, refused);
    await expectLogged(invalid, 'unproved-key');
    // The response does not differ from that to any other invalid token.
    const other = await ask(await scene.platform.token(`${sub}x`));
    for (const answer of [without, invalid]) {
      expect(answer.body).toEqual(other.body);
    }
  });

  it('with cnf is accepted with a proof of its key, which is used once', async () => {
    const { id, sub } = await scene.createFederated();
    const holder = createHolder(scene.clock);
    const jkt = await jktOf(holder);
    const bound = await scene.platform.token(sub, { claims: { cnf: { jkt } } });
    const proof = await holder.prove('POST', tokenPath);
    const { body } = await ask(bound).set('DPoP', proof).expect(200);
    expect(decodeJwt(body.access_token)).toMatchObject({ sub: id, cnf: { jkt } });
    await expectRefusal(broker, ask(bound).set('DPoP', proof), refused);
    await ask(bound)
      .set('DPoP', await holder.prove('POST', tokenPath))
      .expect(200);
  });

  it.each([
    { 'x5t#S256': 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2' },
    { jwk: { kty: 'EC' } },
    {},
    'key',
    null,
  ])('with the unknown confirmation %j is refused, with a proof or without', async (cnf) => {
    const { sub } = await scene.createFederated();
    const token = await scene.platform.token(sub, { claims: { cnf } });
    await expectLogged(await expectRefusal(broker, ask(token), refused), 'unknown-confirmation');
    const holder = createHolder(scene.clock);
    const proved = ask(token).set('DPoP', await holder.prove('POST', tokenPath));
    await expectRefusal(broker, proved, refused);
  });

  it('with may_act is refused if it names another actor, and the reason is logged', async () => {
    const [{ id, sub }, other] = [await scene.createFederated(), await scene.createFederated()];
    for (const may_act of [
      { sub: other.id },
      { sub: id, iss: scene.platform.issuer },
      { sub },
      {},
      id,
      null,
    ]) {
      const token = await scene.platform.token(sub, { claims: { may_act } });
      await expectLogged(await expectRefusal(broker, ask(token), refused), 'other-actor');
    }
  });
});

describe('a platform’s token that names its own agent as the actor', () => {
  it('authenticates that agent', async () => {
    const { id, sub } = await scene.createFederated();
    for (const may_act of [{ sub: id }, { sub: id, iss: 'https://hallpass.test' }]) {
      const token = await scene.platform.token(sub, { claims: { may_act } });
      await scene.asClient(token, {}, broker).expect(200);
      await scene.asGrant(token, {}, broker).expect(200);
    }
  });
});

describe('a bound client assertion', () => {
  it('needs its proof at introspection and revocation, too', async () => {
    const { sub } = await scene.createFederated();
    const holder = createHolder(scene.clock);
    const cnf = { jkt: await jktOf(holder) };
    const client_assertion = await scene.platform.token(sub, { claims: { cnf } });
    const form = { token: 'x', client_assertion, client_assertion_type: assertionType };
    for (const path of ['/oauth2/introspect', '/oauth2/revoke']) {
      expect((await oauthPost(broker, path, form)).body.error).toBe('invalid_client');
      await oauthPost(broker, path, form)
        .set('DPoP', await holder.prove('POST', path))
        .expect(200);
    }
  });

  it('of an agent with its own keys is restricted in the same way, and is not used by a refusal', async () => {
    const agent = await createKeyAgent({ url: broker.url, now: () => scene.clock.now() });
    const holder = createHolder(scene.clock);
    const assertion = await agent.assert({ claims: { cnf: { jkt: await jktOf(holder) } } });
    await expectRefusal(broker, scene.asClient(assertion, {}, broker), refusedClient);
    await scene
      .asClient(assertion, {}, broker)
      .set('DPoP', await holder.prove('POST', tokenPath))
      .expect(200);
    const named = await agent.assert({ claims: { may_act: { sub: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' } } });
    await expectRefusal(broker, scene.asClient(named, {}, broker), refusedClient);
  });
});

describe('a person’s token in an exchange', () => {
  it('with cnf needs a proof of its key, also from the actor that it names', async () => {
    await asBootstrap(broker)
      .patch(`/v1/trusted-issuers/${scene.trusted}`, { subject_tokens: true })
      .expect(200);
    scene.clock.advance(2);
    const agent = await createAgent(broker);
    const holder = createHolder(scene.clock);
    const thief = createHolder(scene.clock);
    const cnf = { jkt: await jktOf(holder) };
    const ask = async (claims: object, by?: Holder) => {
      const request = oauthPost(
        broker,
        tokenPath,
        {
          grant_type: exchangeGrant,
          subject_token: await scene.platform.token('alice', { claims }),
          subject_token_type: tokenType('jwt'),
          resource: 'https://nobody.example',
          scope: 'read',
        },
        agent,
      );
      const { body } = await (by === undefined
        ? request
        : request.set('DPoP', await by.prove('POST', tokenPath)));
      return body;
    };
    const may_act = { sub: agent.id };
    for (const claims of [{ cnf }, { cnf, may_act }]) {
      for (const by of [undefined, thief]) {
        const { error, error_description } = await ask(claims, by);
        expect({ error, error_description }).toMatchObject({
          error: 'invalid_request',
          error_description: expect.stringContaining('bound to a key'),
        });
      }
      // With the proof the token is accepted; then the exchange is refused because there is no grant.
      expect((await ask(claims, holder)).error).toBe('invalid_target');
    }
    expect((await ask({ cnf: { 'x5t#S256': 'x' } }, holder)).error_description).toContain('bound to a key');
    expect((await ask({ may_act: { sub: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c' } })).error_description).toContain(
      'names another actor',
    );
  });
});
