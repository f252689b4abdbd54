import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import { grantTo, permitAll, tokenOf } from '../oauth/fixtures.ts';
import { exchangeGrant, tokenType } from '../oauth/token-exchange/exchange-scene.ts';
import {
  createAgent,
  createPolicy,
  createResource,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { parallel, tally } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createFederatedAgent } from '../support/federated-agent.ts';
import { bearer, send } from '../support/http.ts';

/** The cost of refused requests, and where they are counted. */
const clock = new FakeClock();
const perSecond = 20;
let unlimited: TestBroker;
let broker: TestBroker;
let agent: TestAgent;

beforeAll(async () => {
  unlimited = await startBroker({ clock });
  agent = await createAgent(unlimited);
  const config = { rateLimitPerSecond: perSecond, trustedProxies: ['127.0.0.0/8'] };
  broker = await startBroker({ clock, database: unlimited.database, config });
});

let addresses = 0;
function newAddress(): string {
  addresses += 1;
  return `203.0.113.${addresses}`;
}

function get(path: string, address: string, headers: Record<string, string> = {}) {
  return send(broker, { method: 'GET', path, headers: { ...headers, 'X-Forwarded-For': address } });
}

function askToken(client: { id: string; secret: string }, address: string, form = {}) {
  const all = { grant_type: 'client_credentials', ...form };
  return oauthPost(broker, '/oauth2/token', all, client).set('X-Forwarded-For', address);
}

const unknownKey = bearer(`hpa_${'x'.repeat(43)}`);

/** Returns how many requests of a kind are allowed in a row before one is refused. */
async function passing(ask: () => PromiseLike<{ status: number }>): Promise<number> {
  for (let n = 0; ; n += 1) if ((await ask()).status === 429) return n;
}

describe('a failed authentication', () => {
  it('counts as ten requests of its address, with a key, a token or a client secret', async () => {
    const [key, jwt, client] = [newAddress(), newAddress(), newAddress()];
    expect(await passing(() => get('/v1/admins', key, unknownKey))).toBe(2);
    expect(await passing(() => get('/v1/admins', jwt, bearer('eyJhbGciOiJub25lIn0.e30.')))).toBe(2);
    expect(await passing(() => askToken({ ...agent, secret: 'wrong' }, client))).toBe(2);
    clock.advance(0.5);
    expect(await passing(() => get('/v1/admins', key, unknownKey))).toBe(1);
  });

  it('costs more than a request without a credential, which counts once', async () => {
    const address = newAddress();
    expect(await passing(() => get('/v1/admins', address))).toBe(perSecond);
  });

  it('states how long the address must wait, after which a request is allowed', async () => {
    const address = newAddress();
    await parallel(perSecond, () => get('/v1/admins', address, unknownKey));
    const { headers, status } = await get('/v1/admins', address);
    const wait = Number(headers['retry-after']);
    expect([status, wait >= 1, wait <= 10]).toEqual([429, true, true]);
    expect(headers.ratelimit).toBe(`"address";r=0;t=${wait}`);
    clock.advance(wait);
    expect((await get('/v1/admins', address)).status).toBe(401);
  });

  it('in the name of an agent does not count against that agent', async () => {
    for (let n = 0; n < perSecond * 2; n += 1) {
      await askToken({ ...agent, secret: 'wrong' }, newAddress()).expect(401);
    }
    const { headers } = await askToken(agent, newAddress()).expect(200);
    expect(headers.ratelimit).toBe(`"address";r=${perSecond - 1};t=1, "caller";r=${perSecond - 1};t=1`);
  });
});

describe('twice as many concurrent requests as the limit allows', () => {
  it('of one agent at the token endpoint: as many succeed as are allowed, and only these are written', async () => {
    const busy = await createAgent(unlimited);
    const answers = await parallel(perSecond * 2, () =>
      askToken(busy, newAddress()).then((answer) => answer),
    );
    expect(tally(answers)).toEqual({ 200: perSecond, 429: perSecond });
    const count = async (table: string) =>
      (await broker.database.owner.query(`select from ${table} where agent_id = $1`, [busy.id])).rowCount;
    expect(await count('tokens')).toBe(perSecond);
    const { rows } = await broker.database.owner.query(
      `select type from audit_events where agent_id = $1 and type like 'token.%'`,
      [busy.id],
    );
    expect(rows).toEqual(Array.from({ length: perSecond }, () => ({ type: 'token.issued' })));
  });

  it('that policy or the catalogue refuses: no more refusals are recorded than requests are allowed', async () => {
    const wrong = await createAgent(unlimited);
    const form = { resource: 'https://nowhere.example', scope: 'read' };
    const answers = await parallel(perSecond * 2, () =>
      askToken(wrong, newAddress(), form).then((answer) => answer),
    );
    expect(tally(answers)).toEqual({ 400: perSecond, 429: perSecond });
    const { rowCount } = await broker.database.owner.query(
      `select from audit_events where agent_id = $1 and type = 'token.refused'`,
      [wrong.id],
    );
    expect(rowCount).toBe(perSecond);
  });
});

describe('twice as many concurrent exchanges as the limit allows', () => {
  /** Returns how many tokens, grants and refusals of the agent are written. */
  async function writtenOf(agentId: string) {
    const { rows } = await broker.database.owner.query(
      `select (select count(*)::integer from tokens where agent_id = $1) as tokens,
              (select count(*)::integer from grants where agent_id = $1) as grants,
              (select count(*)::integer from audit_events where agent_id = $1 and type = 'token.refused') as refused`,
      [agentId],
    );
    return rows[0];
  }
  const exchangeOf = (subject_token: string) => ({
    grant_type: exchangeGrant,
    subject_token,
    subject_token_type: tokenType('access_token'),
  });
  const atOnce = async (ask: () => PromiseLike<{ status: number }>) =>
    tally(await parallel(perSecond * 2, async () => ask()));

  it("of a workload's own token: as many succeed as are allowed, and only these are written", async () => {
    const workload = await createFederatedAgent({ url: unlimited.url, now: () => clock.now() });
    const form = exchangeOf(await workload.issueToken());
    const ask = () => oauthPost(broker, '/oauth2/token', form).set('X-Forwarded-For', newAddress());
    expect(await atOnce(ask)).toEqual({ 200: perSecond, 429: perSecond });
    expect(await writtenOf(workload.id)).toEqual({ tokens: perSecond, grants: 0, refused: 0 });
  });

  it("of another agent's token: as many succeed as are allowed, and only these are written", async () => {
    const [parent, helper] = [await createAgent(unlimited), await createAgent(unlimited)];
    await createPolicy(unlimited, permitAll);
    const resource = await createResource(unlimited);
    await grantTo(parent, resource);
    const form = exchangeOf(await tokenOf(parent, { resource: resource.identifier }));
    const ask = () => askToken(helper, newAddress(), form);
    expect(await atOnce(ask)).toEqual({ 200: perSecond, 429: perSecond });
    expect(await writtenOf(helper.id)).toEqual({ tokens: perSecond, grants: 1, refused: 0 });
  });

  it('that are refused: no more refusals are recorded than requests are allowed', async () => {
    const wrong = await createAgent(unlimited);
    const ask = () => askToken(wrong, newAddress(), exchangeOf('no token'));
    expect(await atOnce(ask)).toEqual({ 400: perSecond, 429: perSecond });
    expect(await writtenOf(wrong.id)).toEqual({ tokens: 0, grants: 0, refused: perSecond });
  });
});

describe('a rate-limited request', () => {
  it('is logged with the agent that exceeded the limit', async () => {
    const lines: string[] = [];
    const logging = await startBroker({
      clock,
      database: unlimited.database,
      log: createLog('info', { write: (line) => lines.push(line) }),
      config: { rateLimitPerSecond: 1, trustedProxies: ['127.0.0.0/8'] },
    });
    const ask = () =>
      oauthPost(logging, '/oauth2/token', { grant_type: 'client_credentials' }, agent).set(
        'X-Forwarded-For',
        newAddress(),
      );
    await ask().expect(200);
    const { headers } = await ask().expect(429);
    const line = lines
      .map((text) => JSON.parse(text))
      .find((one) => one.request_id === headers['x-request-id']);
    expect(line).toMatchObject({
      operation: 'issueToken',
      status: 429,
      code: 'rate-limited',
      caller: agent.id,
    });
  });

  it('costs no database work', async () => {
    const address = newAddress();
    await passing(() => get('/v1/admins', address, unknownKey));
    const tables = ['admin_keys', 'agent_secrets', 'tokens'];
    for (const table of tables)
      await broker.database.owner.query(`alter table ${table} rename to ${table}_gone`);
    try {
      expect((await get('/v1/admins', address, unknownKey)).status).toBe(429);
      await askToken({ ...agent, id: `${agent.id.slice(0, -1)}0` }, address).expect(429);
    } finally {
      for (const table of tables) {
        await broker.database.owner.query(`alter table ${table}_gone rename to ${table}`);
      }
    }
  });

  it('is counted per address in the audit log, and per scope in the metrics', async () => {
    const counting = await startBroker({
      clock,
      database: unlimited.database,
      config: { rateLimitPerSecond: 1, trustedProxies: ['127.0.0.0/8'] },
    });
    const [one, other] = ['192.0.2.1', '192.0.2.2'];
    const api = bearer((await agent.token().expect(200)).body.access_token);
    const ask = (address: string, headers = {}) =>
      send(counting, {
        method: 'GET',
        path: '/v1/grants',
        headers: { ...headers, 'X-Forwarded-For': address },
      });
    expect((await ask(one, api)).status).toBe(200);
    for (let n = 0; n < 3; n += 1) expect((await ask(one, api)).status).toBe(429);
    expect((await ask(other, api)).status).toBe(429);
    const server = createServer(counting.metrics);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const text = await (await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)).text();
    server.closeAllConnections();
    server.close();
    expect(text).toContain('hallpass_rate_limited_total{scope="address"} 3');
    expect(text).toContain('hallpass_rate_limited_total{scope="caller"} 1');
    await counting.beginShutdown();
    clock.advance(60);
    await expect
      .poll(async () => {
        const { rows } = await broker.database.owner.query(
          `select details from audit_events where type = 'strangers.refused' and details->>'address' like '192.0.2.%'
            order by details->>'address'`,
        );
        return rows;
      })
      .toEqual([{ details: { address: one, count: 3 } }, { details: { address: other, count: 1 } }]);
  });
});
