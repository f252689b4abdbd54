import { beforeAll, describe, expect, it } from 'vitest';
import { exchangeGrant, tokenType } from '../oauth/token-exchange/exchange-scene.ts';
import { apiOf, createPolicy, createResource, grantRequest, oauthPost } from '../support/broker.ts';
import { createFederationScene, type FederationScene } from './federation-scene.ts';

let scene: FederationScene;
let resource: string;
beforeAll(async () => {
  scene = await createFederationScene();
  await createPolicy(scene.broker, 'permit(principal, action, resource);');
  resource = (await createResource(scene.broker)).identifier;
});

type Form = Record<string, string>;
/** The three ways in which a platform token authenticates its workload. */
const ways: [string, (token: string, more?: Form) => ReturnType<FederationScene['asClient']>][] = [
  ['a client assertion', (token, more) => scene.asClient(token, more)],
  ['a jwt-bearer grant', (token, more) => scene.asGrant(token, more)],
  [
    'a subject token',
    (token, more) =>
      oauthPost(scene.broker, '/oauth2/token', {
        grant_type: exchangeGrant,
        subject_token: token,
        subject_token_type: tokenType('jwt'),
        ...more,
      }),
  ],
];

/** Issues a platform token that is valid for `left` more seconds. */
async function tokenWithSecondsLeft(sub: string, left: number): Promise<string> {
  const now = Math.floor(scene.clock.now().getTime() / 1000);
  return scene.platform.token(sub, { claims: { iat: now - 100, exp: now + left } });
}

describe('a token that an agent gets', () => {
  it.each(ways)('never lasts longer than the platform token that was %s', async (_, ask) => {
    const { sub } = await scene.createFederated();
    const own = await ask(await tokenWithSecondsLeft(sub, 8)).expect(200);
    expect(own.body.expires_in).toBe(8);
    for (const left of [0, -30]) {
      const { status, body } = await ask(await tokenWithSecondsLeft(sub, left));
      expect([status, body.access_token]).toEqual([expect.any(Number), undefined]);
      expect(status).toBeGreaterThanOrEqual(400);
    }
    const long = await ask(await tokenWithSecondsLeft(sub, 3_000)).expect(200);
    expect(long.body.expires_in).toBe(300);
    await apiOf(scene.broker, long.body.access_token).post('/v1/grants', grantRequest(resource)).expect(201);
    const access = await ask(await tokenWithSecondsLeft(sub, 8), { resource, scope: 'read' }).expect(200);
    expect(access.body.expires_in).toBe(8);
  });
});

describe('a platform’s token', () => {
  it.each(
    ways,
  )('may be %s if it lasts a day and the five minutes by which some date it back', async (_, ask) => {
    const { sub } = await scene.createFederated();
    const now = Math.floor(scene.clock.now().getTime() / 1000);
    const lasting = (seconds: number) =>
      scene.platform.token(sub, { claims: { iat: now - 300, exp: now - 300 + seconds } });
    await ask(await lasting(86_700)).expect(200);
    expect((await ask(await lasting(86_701))).status).toBeGreaterThanOrEqual(400);
  });
});
