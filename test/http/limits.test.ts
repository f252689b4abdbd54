import { beforeAll, describe, expect, it } from 'vitest';
import { access } from '../../src/http/access.ts';
import { isRouted, readContract } from '../../src/http/contract.ts';
import { createAgent, startBroker, type TestAgent, type TestBroker } from '../support/broker.ts';
import { detailsOf, exampleRequest, type OperationDetails } from '../support/contract-requests.ts';
import { credentialFor } from '../support/credential-for.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, send, type WireRequest } from '../support/http.ts';

/** Requests are limited by address before authentication, and by agent or person after it. */
const contract = readContract();
const operations = contract.operations.map((entry) => detailsOf(contract, entry));
const isOpen = ({ entry }: OperationDetails): boolean =>
  isRouted(entry) && (access[entry.id] as readonly string[]).includes('anyone');
const cases = operations.map((details) => ({ id: details.entry.id, details }));
const limited = cases.filter(({ details }) => !isOpen(details));
const exempt = cases.filter(({ details }) => isOpen(details));

const clock = new FakeClock();
/** Allows one request per second, and trusts X-Forwarded-For. */
let broker: TestBroker;
let agent: TestAgent;
let token: string;

beforeAll(async () => {
  const unlimited = await startBroker({ clock });
  agent = await createAgent(unlimited);
  token = (await agent.token().expect(200)).body.access_token;
  const config = { rateLimitPerSecond: 1, trustedProxies: ['127.0.0.0/8'] };
  broker = await startBroker({ clock, database: unlimited.database, config });
});

function authorization(details: OperationDetails): Record<string, string> {
  if (!isRouted(details.entry)) {
    const basic = Buffer.from(`${agent.id}:${agent.secret}`).toString('base64');
    return { Authorization: `Basic ${basic}` };
  }
  return credentialFor(details, token);
}

/** Makes a request of this operation by a caller who may make it. At the token endpoint it requests a broker token. */
function request(details: OperationDetails): WireRequest & { headers: Record<string, string> } {
  const example = exampleRequest(details);
  const body = details.entry.id === 'issueToken' ? 'grant_type=client_credentials' : example.body;
  return { ...example, body, headers: { ...example.headers, ...authorization(details) } };
}

let addresses = 0;
function newAddress(): string {
  addresses += 1;
  return `198.51.${addresses >> 8}.${addresses & 255}`;
}

function from(address: string, wire: WireRequest): Promise<Answer> {
  return send(broker, { ...wire, headers: { ...wire.headers, 'X-Forwarded-For': address } });
}

/** Returns how many tokens were issued and how many events recorded, without the events that count once a minute. */
async function written(): Promise<{ tokens: number; events: number }> {
  const { rows } = await broker.database.owner.query(
    `select (select count(*)::int from tokens) as tokens,
            (select count(*)::int from audit_events where type <> 'strangers.refused') as events`,
  );
  return rows[0];
}

function expectLimited(answer: Answer, scope: 'address' | 'caller', path: string): void {
  expect(answer.status, answer.text).toBe(429);
  expect(answer.headers).toMatchObject({
    'retry-after': '1',
    'ratelimit-policy': '"address";q=1;w=1, "caller";q=1;w=1',
    ratelimit: scope === 'address' ? '"address";r=0;t=1' : '"address";r=0;t=1, "caller";r=0;t=1',
    'cache-control': 'no-store',
  });
  expect(answer.headers['x-request-id']).toMatch(/^req_/);
  if (path.startsWith('/oauth2/')) {
    expect(answer.json).toEqual({
      error: 'temporarily_unavailable',
      error_description: `too many requests from this ${scope}`,
    });
  } else expect(answer.json).toMatchObject({ status: 429, code: 'rate-limited' });
}

describe.each(limited)('$id', ({ details }) => {
  it('is refused to an address that exceeds the limit, for any caller, and allowed again after Retry-After', async () => {
    const { path } = details.entry;
    const wire = request(details);
    const address = newAddress();
    const first = await from(address, { ...wire, headers: {} });
    expect([400, 401, 415]).toContain(first.status);
    expect(first.headers.ratelimit).toBe('"address";r=0;t=1');
    const before = await written();
    expectLimited(await from(address, wire), 'address', path);
    expectLimited(await from(address, { ...wire, headers: {} }), 'address', path);
    expect(await written()).toEqual(before);
    clock.advance(1);
    expect((await from(address, wire)).status).not.toBe(429);
  });

  it('is refused to a caller who exceeds the limit, from any address, and nothing is issued or recorded', async () => {
    const wire = request(details);
    clock.advance(1);
    const first = await from(newAddress(), wire);
    expect([401, 429, 500]).not.toContain(first.status);
    expect(first.headers.ratelimit).toBe('"address";r=0;t=1, "caller";r=0;t=1');
    const before = await written();
    for (let n = 0; n < 3; n += 1) {
      expectLimited(await from(newAddress(), wire), 'caller', details.entry.path);
    }
    expect(await written()).toEqual(before);
    clock.advance(1);
    expect((await from(newAddress(), wire)).status).not.toBe(429);
  });
});

describe.each(exempt)('$id', ({ details }) => {
  it('is not limited, and has no rate limit headers', async () => {
    const address = newAddress();
    for (let n = 0; n < 20; n += 1) {
      const answer = await from(address, exampleRequest(details));
      expect(answer.status).not.toBe(429);
      expect(answer.headers).not.toHaveProperty('ratelimit');
      expect(answer.headers).not.toHaveProperty('ratelimit-policy');
    }
  });
});

it('a path that is not in the contract is limited by address, too', async () => {
  for (const [path, code] of [
    ['/nothing', 'rate-limited'],
    ['/oauth2/nothing', undefined],
  ]) {
    const address = newAddress();
    const wire = { method: 'GET', path: String(path), headers: {} };
    expect((await from(address, wire)).status).toBe(404);
    const answer = await from(address, wire);
    expect(answer).toMatchObject({ status: 429, headers: { 'retry-after': '1' } });
    expect(answer.json.code).toBe(code);
  }
});

it('addresses of one IPv6 /64 count as one, and those of another /64 do not', async () => {
  const wire = { method: 'GET', path: '/nothing', headers: {} };
  expect((await from('2001:db8::1', wire)).status).toBe(404);
  expect((await from('2001:db8::2:1', wire)).status).toBe(429);
  expect((await from('2001:db8:0:1::1', wire)).status).toBe(404);
});
