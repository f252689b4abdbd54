import { Agent } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { type BrokerProcess, launch } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { createProduction, migrate, type Production } from '../../e2e/support/production.ts';
import { apiBody, startUpstream, type TestUpstream } from '../../gateway/scene.ts';
import { freePort } from '../../support/free-port.ts';

let production: Production;
let upstream: TestUpstream;
beforeAll(async () => {
  await ensureBuilt();
  production = await createProduction();
  await migrate(production);
  upstream = await startUpstream();
});

interface Started {
  broker: BrokerProcess;
  api: string;
  gateway: string;
}

async function start(role: string): Promise<Started> {
  const [port, gatewayPort] = [await freePort(), await freePort()];
  const gateway = `http://127.0.0.1:${gatewayPort}`;
  const broker = launch({
    ...production.env,
    HALLPASS_ROLE: role,
    HALLPASS_PORT: String(port),
    HALLPASS_GATEWAY_URL: gateway,
    HALLPASS_GATEWAY_PORT: String(gatewayPort),
    HALLPASS_OUTBOUND_ALLOW: '127.0.0.0/8',
    HALLPASS_RATE_LIMIT: 'off',
    HALLPASS_LOG_LEVEL: 'warn',
  });
  await broker.seen('Hallpass listens on');
  return { broker, api: `http://127.0.0.1:${port}`, gateway };
}

/** Registers the upstream, and returns its slug and a token for it. */
async function register(api: string, story: Story): Promise<{ slug: string; token: string }> {
  const bearer = production.bootstrapKey;
  const body = apiBody(upstream.url);
  await expecting(201, call(`${api}/v1/resources`, { bearer, json: body }));
  const cedar = `permit(principal, action, resource == Resource::"${body.identifier}");`;
  await expecting(201, call(`${api}/v1/policies`, { bearer, json: { name: body.slug, cedar } }));
  const asked = { resource: body.identifier, scopes: ['read'], duration_seconds: 3600, reason: 'test' };
  await expecting(201, call(`${api}/v1/grants`, { bearer: story.token, json: asked }));
  const form = { grant_type: 'client_credentials', resource: body.identifier };
  const { access_token: token } = (
    await expecting(200, call(`${api}/oauth2/token`, { basic: story.client, form }))
  ).body;
  return { slug: body.slug, token };
}

const callers = 16;
const callsPerRound = 300;

/** Calls the upstream with many callers, each time another path, and kills the gateway under load. */
async function callUntilKilled(
  { broker, gateway }: Started,
  { slug, token }: { slug: string; token: string },
) {
  const agent = new Agent({ keepAlive: true, maxSockets: callers });
  let answered = 0;
  const caller = async (n: number): Promise<void> => {
    for (let i = 0; broker.child.signalCode === null && broker.child.exitCode === null; i += 1) {
      const url = `${gateway}/${slug}/items/${broker.child.pid}-${n}-${i}`;
      const answer = await call(url, { bearer: token, agent }).catch(() => undefined);
      if (answer === undefined) return;
      expect(answer.status).toBe(200);
      answered += 1;
      if (answered === callsPerRound) broker.child.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, n) => caller(n)));
  agent.destroy();
  await broker.exited;
}

describe('the gateway as a process of its own', () => {
  it('serves calls with the role gateway, and no API; the role api opens no gateway', async () => {
    const api = await start('api');
    const gateway = await start('gateway');
    const story = await createStory(api.api, production.bootstrapKey);
    const { slug, token } = await register(api.api, story);
    const path = `/${slug}/items/7`;
    await expecting(200, call(`${gateway.gateway}${path}`, { bearer: token }));
    await expect(call(`${api.gateway}${path}`, { bearer: token })).rejects.toThrow('ECONNREFUSED');
    await expecting(404, call(`${gateway.api}/v1/grants`, { bearer: story.token }));
    await expecting(200, call(`${gateway.api}/readyz`));
    const status = async (url: string) => (await fetch(url)).status;
    expect([await status(`${gateway.gateway}/readyz`), await status(`${gateway.gateway}/healthz`)]).toEqual([
      200, 200,
    ]);
    for (const { broker } of [api, gateway]) {
      broker.child.kill('SIGTERM');
      expect((await broker.exited).code).toBe(0);
    }
  });

  it('has a row for each call that reached the upstream, even if it is killed under load', async () => {
    const api = await start('api');
    const story = await createStory(api.api, production.bootstrapKey);
    const access = await register(api.api, story);
    upstream.requests.length = 0;
    for (let round = 0; round < 3; round += 1) await callUntilKilled(await start('gateway'), access);
    const rows = await production.query<{ path: string; outcome: string | null }>(
      'select path, outcome from calls',
    );
    const recorded = new Set(rows.map(({ path }) => path));
    const reached = upstream.requests.map(({ url }) => url);
    expect(reached.length).toBeGreaterThanOrEqual(3 * callsPerRound);
    expect(reached.filter((path) => !recorded.has(path))).toEqual([]);
    // Without a kill, a call never lacks its outcome; each kill leaves at most those that were under way.
    const open = rows.filter(({ outcome }) => outcome === null).length;
    expect(open).toBeLessThanOrEqual(3 * 2 * callers);
  }, 300_000);
});
