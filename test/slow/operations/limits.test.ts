import { request } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Replica, startReplica } from '../../cluster/replica.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { createProduction, migrate } from '../../e2e/support/production.ts';

/** Two built replicas on one database, each of which allows a few requests per second. */
const perSecond = 5;
const asked = 40;
let plain: Replica[];
let behindProxy: Replica;

beforeAll(async () => {
  await ensureBuilt();
  const production = await createProduction();
  await migrate(production);
  const env = { ...production.env, HALLPASS_RATE_LIMIT: String(perSecond), HALLPASS_LOG_LEVEL: 'warn' };
  plain = [await startReplica(env), await startReplica(env)];
  behindProxy = await startReplica({ ...env, HALLPASS_TRUSTED_PROXIES: '127.0.0.0/8,10.0.0.0/8' });
});

interface Limited {
  status: number;
  limit: string;
  policy: string;
  retryAfter: string | undefined;
}

/** Sends one unauthenticated request with these headers; a header may have several values. */
function ask({ url }: Replica, headers: Record<string, string | string[]> = {}): Promise<Limited> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/v1/admins`, { headers, agent: false }, (response) => {
      response.resume();
      const { ratelimit, 'ratelimit-policy': policy, 'retry-after': retryAfter } = response.headers;
      const limits = { limit: String(ratelimit), policy: String(policy), retryAfter };
      response.on('end', () => resolve({ status: response.statusCode ?? 0, ...limits }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

interface Burst {
  passed: number;
  refused: Limited[];
  /** How many requests may have been allowed beyond the first burst, given the time that passed. */
  refilled: number;
}

/** Sends `asked` requests at once. `headersOf` returns the headers of the n-th request. */
async function burst(
  replica: Replica,
  headersOf: (n: number) => Record<string, string | string[]> = () => ({}),
): Promise<Burst> {
  const begun = performance.now();
  const answers = await Promise.all(Array.from({ length: asked }, (_, n) => ask(replica, headersOf(n))));
  const refilled = Math.ceil(((performance.now() - begun) / 1000) * perSecond);
  const refused = answers.filter(({ status }) => status === 429);
  return { passed: asked - refused.length, refused, refilled };
}

function expectLimited({ passed, refused, refilled }: Burst): void {
  expect(passed).toBeGreaterThanOrEqual(perSecond);
  expect(passed).toBeLessThanOrEqual(perSecond + refilled);
  for (const { limit, policy, retryAfter } of refused) {
    expect(policy).toBe(`"address";q=${perSecond};w=1, "caller";q=${perSecond};w=1`);
    expect(limit).toBe(`"address";r=0;t=${retryAfter}`);
    expect(retryAfter).toMatch(/^[1-9]$/);
  }
}

describe('an address', () => {
  it('may send as many requests to each replica as the setting says, so to two of them twice as many', async () => {
    const bursts = await Promise.all(plain.map((replica) => burst(replica)));
    for (const one of bursts) expectLimited(one);
    // On a slow machine a whole burst is allowed: then another one follows sooner.
    let refused = bursts.flatMap((one) => one.refused);
    while (refused.length === 0) refused = (await burst(plain[0] ?? behindProxy)).refused;
    expect(refused[0]?.status).toBe(429);
  });

  it('cannot claim other addresses if no proxy is trusted', async () => {
    const [replica = behindProxy] = plain;
    // The clock of a process cannot be advanced, and a request that checks whether the full burst is available would
    // use it.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const claims = (n: number) => ({
      'X-Forwarded-For': `198.51.100.${n}`,
      Forwarded: `for=198.51.100.${n}`,
      'X-Real-IP': `198.51.100.${n}`,
      'CF-Connecting-IP': `198.51.100.${n}`,
      'True-Client-IP': `198.51.100.${n}`,
    });
    expectLimited(await burst(replica, claims));
  });
});

describe('behind a trusted proxy', () => {
  it('every client has its own limit', async () => {
    const { passed } = await burst(behindProxy, (n) => ({ 'X-Forwarded-For': `198.51.100.${n}` }));
    expect(passed).toBe(asked);
  });

  it.each<[what: string, headersOf: (n: number) => Record<string, string | string[]>]>([
    [
      'more addresses before the one that the proxy saw',
      (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, 192.0.2.1` }),
    ],
    [
      'a chain that ends with trusted addresses',
      (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, 192.0.2.2, 10.0.0.${n}, 10.1.0.${n}` }),
    ],
    ['another header before it', (n) => ({ 'X-Forwarded-For': [`203.0.113.${n}`, '192.0.2.3'] })],
    [
      'an invalid address before it',
      (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, <script>, 0x7f.1, 192.0.2.4` }),
    ],
    ['a different port each time', (n) => ({ 'X-Forwarded-For': `192.0.2.5:${1024 + n}` })],
    [
      'the same address in other notations',
      (n) => ({ 'X-Forwarded-For': spellings[n % spellings.length] ?? '' }),
    ],
    [
      'another address of their IPv6 network',
      (n) => ({ 'X-Forwarded-For': `2001:db8:0:7::${(n + 1).toString(16)}` }),
    ],
    ['a string that is not an address', (n) => ({ 'X-Forwarded-For': `unknown-${n}` })],
    [
      'thousands of trusted addresses',
      (n) => ({ 'X-Forwarded-For': `192.0.2.6,${`10.0.0.${n},`.repeat(900)}10.0.0.1` }),
    ],
  ])('no client gets more by sending %s', async (_what, headersOf) => {
    expectLimited(await burst(behindProxy, headersOf));
  });
});

const spellings = [
  '192.0.2.7',
  '::ffff:192.0.2.7',
  '[::ffff:192.0.2.7]:443',
  '::ffff:c000:207',
  '0:0:0:0:0:FFFF:C000:0207',
  '  192.0.2.7  ',
];
