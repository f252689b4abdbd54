import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { createServerOf, grantTo, introspect, permitAll } from '../../oauth/fixtures.ts';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
  testIssuer,
} from '../../support/broker.ts';
import { parallel } from '../../support/count.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const clock = new FakeClock();
let replicas: [TestBroker, TestBroker];
let owner: string;

beforeAll(async () => {
  const first = await startBroker({ clock });
  replicas = [first, await startBroker({ clock, database: first.database })];
  await createPolicy(first, permitAll);
  owner = (await createPerson(first)).id;
});

interface Answer {
  /** Whether the request began after `end` had completed. */
  late: boolean;
  status: number;
  error: string | undefined;
  token: string | undefined;
}

/**
 * Starts clients on both replicas that send requests without a pause, each until the response to a request that began
 * after `end` had completed. Returns all responses.
 */
async function askWhile(clients: TestAgent[], form: Record<string, string>, end: () => Promise<unknown>) {
  const answers: Answer[] = [];
  let ended = false;
  const ask = async (client: TestAgent, onAnswer: () => void): Promise<void> => {
    for (;;) {
      const late = ended;
      const { status, body } = await client.token(form);
      answers.push({ late, status, error: body.error, token: body.access_token });
      onAnswer();
      if (late) return;
    }
  };
  const asking: Promise<void>[] = [];
  // Each client must have a request in progress when `end` is called.
  await parallel(2 * clients.length, (index) => {
    const client = clients[index % clients.length] as TestAgent;
    return new Promise<void>((resolve) => asking.push(ask(client, resolve)));
  });
  await end();
  ended = true;
  await Promise.all(asking);
  return answers;
}

async function expectEnded(answers: Answer[], server: { id: string; secret: string }): Promise<void> {
  const minted = answers.flatMap(({ token }) => token ?? []);
  expect(minted.length).toBeGreaterThan(0);
  expect(answers.filter(({ late, status }) => late && status === 200)).toEqual([]);
  expect(answers.filter(({ status }) => status >= 500)).toEqual([]);
  for (const replica of replicas) {
    const states = await Promise.all(minted.map((token) => introspect(replica, token, server)));
    expect(states).toEqual(minted.map(() => ({ active: false })));
  }
}

describe('minting during a revocation', () => {
  it('no request after a revocation gets a token, and no token is active after it, on any replica', async () => {
    const agent = await createAgent(replicas[0], { owner });
    const clients = replicas.map((replica) => agentOf(replica, agent));
    const resource = await createResource(replicas[0]);
    const server = await createServerOf(replicas[0], resource);
    for (let round = 0; round < 20; round += 1) {
      const grantId = await grantTo(agent, resource);
      const form = {
        resource: resource.identifier,
        ...(round % 2 === 0 ? { grant_id: grantId } : { scope: 'read' }),
      };
      const admin = asBootstrap(replicas[round % 2 === 0 ? 0 : 1]);
      const answers = await askWhile(clients, form, () =>
        admin.post(`/v1/grants/${grantId}/revoke`, { reason: 'race' }).expect(200),
      );
      await expectEnded(answers, server);
      const errors = new Set(answers.flatMap(({ error }) => error ?? []));
      expect([...errors]).toEqual([round % 2 === 0 ? 'invalid_grant' : 'invalid_target']);
    }
  });

  it('no request after an agent was disabled gets a token, and none of its tokens is active', async () => {
    for (let round = 0; round < 5; round += 1) {
      const agent = await createAgent(replicas[0], { owner });
      const clients = replicas.map((replica) => agentOf(replica, agent));
      const resource = await createResource(replicas[0]);
      const server = await createServerOf(replicas[0], resource);
      await grantTo(agent, resource);
      const form = { resource: resource.identifier, scope: 'read' };
      const answers = await askWhile(clients, form, () =>
        asBootstrap(replicas[1]).post(`/v1/agents/${agent.id}/disable`).expect(200),
      );
      await expectEnded(answers, server);
      expect([...new Set(answers.flatMap(({ error }) => error ?? []))]).toEqual(['invalid_client']);
    }
  });
});

describe('minting during a key rotation on the other replica', () => {
  it('never fails, and a verifier with the oldest JWKS that it may use knows every key', async () => {
    const agent = await createAgent(replicas[0], { owner });
    const [first, second] = replicas;
    const client = agentOf(second, agent);
    let fetches = 0;
    const verifier = createRemoteJWKSet(new URL(`${second.url}/oauth2/jwks`), {
      cacheMaxAge: Infinity,
      [customFetch]: (url, options) => {
        fetches += 1;
        return fetch(url, options);
      },
    });
    const options = { issuer: testIssuer, audience: testIssuer, typ: 'at+jwt', algorithms: ['ES256'] };
    const kids = new Set<unknown>();
    const verify = async (token: string): Promise<void> => {
      const { protectedHeader } = await jwtVerify(token, verifier, { ...options, currentDate: clock.now() });
      kids.add(protectedHeader.kid);
    };
    for (let rotation = 1; rotation <= 4; rotation += 1) {
      clock.advance(60);
      await verifier.reload();
      clock.advance(300);
      let rotated = false;
      const mint = async (): Promise<void> => {
        for (let more = true; more; ) {
          more = !rotated;
          const { body } = await client.token().expect(200);
          await verify(body.access_token);
        }
      };
      const minting = [mint(), mint(), mint(), mint()];
      await asBootstrap(first).post('/v1/keys/rotate', { reason: 'race' }).expect(200);
      rotated = true;
      await Promise.all(minting);
      expect(fetches).toBe(rotation);
    }
    expect(kids.size).toBe(5);
  });
});
