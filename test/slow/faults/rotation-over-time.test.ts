import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type SigningAlg, signingAlgs } from '../../../src/crypto/algorithms.ts';
import { grantTo, permitAll, tokenOf } from '../../oauth/fixtures.ts';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  startBroker,
  type TestBroker,
  testIssuer,
} from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/**
 * Verifiers over many rotations. The brokers run in this process on a fake clock, and `jose` uses the same time, so
 * that its caches expire as they would. test/slow/faults/rotation-under-load.test.ts tests one rotation of the built
 * broker.
 */
const stepSeconds = 60;
const steps = 26;
const tokenSeconds = 300;
const lifeSteps = tokenSeconds / stepSeconds;

const clock = new FakeClock();
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now: clock.now() });
});
afterEach(() => {
  vi.useRealTimers();
});

function pass(seconds: number): void {
  clock.advance(seconds);
  vi.setSystemTime(clock.now());
}

interface Verifier {
  jwks: ReturnType<typeof createRemoteJWKSet>;
  /** Verifies tokens only in every n-th step. */
  every: number;
}

/**
 * Creates two resource servers: one with the defaults of jose, and one that uses `max-age` and never fetches the set for an
 * unknown key.
 */
function verifiersOf({ url }: TestBroker): Verifier[] {
  const address = new URL(`${url}/oauth2/jwks`);
  const strict = { cacheMaxAge: 300_000, cooldownDuration: Infinity };
  return [1, 2, 7].flatMap((every) => [
    { jwks: createRemoteJWKSet(address), every },
    { jwks: createRemoteJWKSet(address, strict), every },
  ]);
}

interface Token {
  text: string;
  alg: SigningAlg;
  audience: string;
  /** The step after which the token has expired. */
  until: number;
}

describe('over half an hour of manual and automatic rotations, on two replicas', () => {
  it('every token verifies until it expires, with a JWK Set of any age', async () => {
    const first = await startBroker({ clock });
    const replicas = [first, await startBroker({ clock, database: first.database })] as const;
    await first.worker.register();
    await createPolicy(first, permitAll);
    const agent = await createAgent(first);
    const audiences = new Map<SigningAlg, string>();
    for (const alg of signingAlgs) {
      const resource = await createResource(first, { token_alg: alg, token_ttl_seconds: tokenSeconds });
      await grantTo(agent, resource, { duration_seconds: 7200 });
      audiences.set(alg, resource.identifier);
    }
    const verifiers = replicas.flatMap(verifiersOf);
    const kids = new Set<unknown>();
    let unexpired: Token[] = [];
    let verified = 0;
    const verify = async ({ text, alg, audience }: Token, { jwks }: Verifier): Promise<void> => {
      const options = { issuer: testIssuer, audience, typ: 'at+jwt', algorithms: [alg] };
      const { protectedHeader } = await jwtVerify(text, jwks, { ...options, currentDate: clock.now() });
      kids.add(protectedHeader.kid);
      verified += 1;
    };
    for (let step = 1; step < steps; step += 1) {
      pass(stepSeconds);
      for (const [index, alg] of signingAlgs.entries()) {
        const replica = replicas[(step + index) % 2] ?? first;
        // The rotation is refused until the next key may sign, so that each rotation is as early as possible.
        const { status } = await asBootstrap(replica).post('/v1/keys/rotate', { alg, reason: 'test' });
        expect([200, 503]).toContain(status);
        const audience = audiences.get(alg) ?? '';
        const text = await tokenOf(agentOf(replica, agent), { resource: audience, scope: 'read' });
        unexpired.push({ text, alg, audience, until: step + lifeSteps });
      }
      const worker = replicas[step % 2]?.worker;
      expect(
        await worker?.runNow('rotate-keys', new Date(Math.floor(clock.now().getTime() / 1000) * 1000)),
      ).toBe('done');
      unexpired = unexpired.filter(({ until }) => until > step);
      const looking = verifiers.filter(({ every }) => step % every === 0);
      // For each algorithm, the newest token and the oldest unexpired one are verified.
      const shown = unexpired.filter(({ until }) => until === step + lifeSteps || until === step + 1);
      await Promise.all(looking.flatMap((one) => shown.map((token) => verify(token, one))));
    }
    expect(kids.size).toBe(signingAlgs.length * (1 + Math.floor(steps / 6)));
    expect(verified).toBeGreaterThan(500);
  }, 60_000);
});
