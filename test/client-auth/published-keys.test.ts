import { beforeAll, describe, expect, it } from 'vitest';
import { startHttpsServer } from '../outbound/https-server.ts';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createKey, createKeyAgent, type KeyAgent, type TestKey } from '../support/key-agent.ts';
import { createTestOutbound } from '../support/test-issuer.ts';

const clock = new FakeClock();
let broker: TestBroker;
let place: { url: string; now: () => Date };
beforeAll(async () => {
  broker = await startBroker({ clock, overrides: { outbound: createTestOutbound() } });
  place = { url: broker.url, now: () => clock.now() };
});

/** Publishes what `state` has: keys, a response that is not a key set, or nothing. */
async function publish(...keys: TestKey[]) {
  const state: { keys: TestKey[]; answer: 'keys' | 'broken' | 'none' } = { keys, answer: 'keys' };
  const server = await startHttpsServer((_request, response) => {
    if (state.answer === 'none') return;
    response.statusCode = state.answer === 'keys' ? 200 : 500;
    response.end(JSON.stringify({ keys: state.keys.map(({ jwk }) => jwk) }));
  });
  return { state, server, jwks_uri: `https://localhost:${server.port}/keys` };
}

const statusOf = async (agent: KeyAgent, key?: TestKey): Promise<number> => {
  if (key === undefined) return (await agent.token()).status;
  const client_assertion = await agent.assert({ key });
  const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
  return (await agent.token({ client_assertion, client_assertion_type })).status;
};

describe('an agent that publishes its keys', () => {
  it('authenticates with any of them, and they are read once', async () => {
    const keys = [createKey(), createKey()] as const;
    const { jwks_uri, server } = await publish(...keys);
    const agent = await createKeyAgent(place, { jwks_uri, key: keys[0] });
    expect(server.requests).toHaveLength(0);
    for (const key of keys) expect(await statusOf(agent, key)).toBe(200);
    expect(server.requests).toHaveLength(1);
    expect(await statusOf(agent, createKey({ kid: keys[0].kid }))).toBe(401);
  });

  it('changes its keys by itself, and many unknown kids cause one read in 30 s', async () => {
    const before = createKey();
    const { jwks_uri, server, state } = await publish(before);
    const agent = await createKeyAgent(place, { jwks_uri, key: before });
    expect(await statusOf(agent)).toBe(200);
    const after = createKey();
    state.keys = [after];
    clock.advance(31);
    const strangers = Array.from({ length: 20 }, () => createKey());
    const statuses = await Promise.all(strangers.map((key) => statusOf(agent, key)));
    expect(new Set(statuses)).toEqual(new Set([401]));
    expect(server.requests).toHaveLength(2);
    expect(await statusOf(agent, after)).toBe(200);
    expect(await statusOf(agent, before)).toBe(401);
    expect(server.requests).toHaveLength(2);
  });

  it('is authenticated with the last key set for an hour while its server is down, then no longer', async () => {
    const key = createKey();
    const { jwks_uri, state } = await publish(key);
    const agent = await createKeyAgent(place, { jwks_uri, key });
    expect(await statusOf(agent)).toBe(200);
    state.answer = 'broken';
    clock.advance(3_500);
    expect(await statusOf(agent)).toBe(200);
    clock.advance(101);
    expect(await statusOf(agent)).toBe(401);
    state.answer = 'keys';
    clock.advance(31);
    expect(await statusOf(agent)).toBe(200);
  });

  it('is refused when its server does not answer, and delays no other agent', async () => {
    const key = createKey();
    const { jwks_uri, state } = await publish(key);
    state.answer = 'none';
    const slow = await createKeyAgent(place, { jwks_uri, key });
    const quick = await createKeyAgent(place);
    let slowHasAnswer = false;
    const waiting = Promise.all(Array.from({ length: 20 }, () => statusOf(slow))).finally(() => {
      slowHasAnswer = true;
    });
    expect(await statusOf(quick)).toBe(200);
    expect(slowHasAnswer).toBe(false);
    expect(new Set(await waiting)).toEqual(new Set([401]));
  });
});
