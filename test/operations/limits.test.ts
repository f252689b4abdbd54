import { request } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Replica, startReplica } from '../cluster/replica.ts';
import { ensureBuilt } from '../e2e/support/build.ts';
import { createProduction, migrate } from '../e2e/support/production.ts';

/** Two built replicas on one database, each of which lets a few requests a second pass. */
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

/** One request of a stranger with these headers, each as often as it has values. */
function ask({ url }: Replica, headers: Record<string, string | string[]> = {}): Promise<Limited> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/v1/admins`, { headers, agent: false }, (response) => {
      response.resume();
      const { ratelimit, 'ratelimit-policy': policy, 'retry-after': retryAfter } = response.headers;
      const told = { limit: String(ratelimit), policy: String(policy), retryAfter };
      response.on('end', () => resolve({ status: response.statusCode ?? 0, ...told }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

interface Burst {
  passed: number;
  refused: Limited[];
  /** How many may have passed beside the first burst, by the time it took. */
  refilled: number;
}

/** Asks as often as `headersOf` is to be called, all at once. */
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
  it('may ask each replica as often as the setting says, so two of them twice as often', async () => {
    const bursts = await Promise.all(plain.map((replica) => burst(replica)));
    for (const one of bursts) expectLimited(one);
    expect(bursts[0]?.refused.length).toBeGreaterThan(0);
  });

  it('cannot claim to be others where no proxy is trusted', async () => {
    const [replica = behindProxy] = plain;
    // The clock of a process cannot be advanced, and to ask whether the burst is whole again would take from it.
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
  it('everybody has an allowance of their own', async () => {
    const { passed } = await burst(behindProxy, (n) => ({ 'X-Forwarded-For': `198.51.100.${n}` }));
    expect(passed).toBe(asked);
  });

  it.each<[what: string, headersOf: (n: number) => Record<string, string | string[]>]>([
    ['more addresses before what the proxy saw', (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, 192.0.2.1` })],
    [
      'a chain that ends at trusted ones',
      (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, 192.0.2.2, 10.0.0.${n}, 10.1.0.${n}` }),
    ],
    ['a header of their own before it', (n) => ({ 'X-Forwarded-For': [`203.0.113.${n}`, '192.0.2.3'] })],
    [
      'what is no address before it',
      (n) => ({ 'X-Forwarded-For': `203.0.113.${n}, <script>, 0x7f.1, 192.0.2.4` }),
    ],
    ['a port each time', (n) => ({ 'X-Forwarded-For': `192.0.2.5:${1024 + n}` })],
    [
      'the same address in other spellings',
      (n) => ({ 'X-Forwarded-For': spellings[n % spellings.length] ?? '' }),
    ],
    [
      'another host of their IPv6 network',
      (n) => ({ 'X-Forwarded-For': `2001:db8:0:7::${(n + 1).toString(16)}` }),
    ],
    ['nothing that is an address', (n) => ({ 'X-Forwarded-For': `unknown-${n}` })],
    [
      'thousands of trusted ones',
      (n) => ({ 'X-Forwarded-For': `192.0.2.6,${`10.0.0.${n},`.repeat(900)}10.0.0.1` }),
    ],
  ])('nobody gets more by sending %s', async (_what, headersOf) => {
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
