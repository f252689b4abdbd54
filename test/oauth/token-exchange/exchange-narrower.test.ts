import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import type { TestAgent } from '../../support/broker.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

/**
 * Tests that a token obtained by exchange is never wider than its subject token: in scope, audience, lifetime and
 * details.
 */
let scene: ExchangeScene;
let agents: TestAgent[];
beforeAll(async () => {
  scene = await createExchangeScene();
  agents = await Promise.all(Array.from({ length: 4 }, () => scene.agent()));
});

const models = ['a', 'b', 'c'];
const step = fc.record({
  by: fc.nat({ max: 3 }),
  scope: fc.option(fc.subarray(['read', 'write', 'admin'], { minLength: 1 }), { nil: undefined, freq: 1 }),
  use: fc.option(
    fc.record({ models: fc.subarray(models, { minLength: 1 }), limit: fc.integer({ min: 1, max: 4 }) }),
    { nil: undefined, freq: 1 },
  ),
  seconds: fc.nat({ max: 100 }),
});

interface Right {
  aud: string;
  exp: number;
  scopes: string[];
  models: string[];
  limit: number;
}

function rightOf(token: string): Right {
  const { aud, exp, scope, authorization_details: details } = scene.claims(token);
  const [{ models: names, max_requests }] = details as [{ models: string[]; max_requests: number }];
  const scopes = String(scope).split(' ');
  return { aud: String(aud), exp: Number(exp), scopes, models: names, limit: max_requests };
}

it('a token after any number of exchanges allows nothing that the first does not, and lasts no longer', async () => {
  let handedOn = 0;
  const steps = fc.array(step, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(steps, async (path) => {
      const llm = { type: 'llm', models: ['a', 'b'], actions: ['inference'], max_requests: 3 };
      let { token } = await scene.holding(await scene.agent(), { authorization_details: [llm] });
      let right = rightOf(token);
      for (const { by, scope, use, seconds } of path) {
        scene.clock.advance(seconds);
        const detail = use && { ...llm, models: use.models, max_requests: use.limit };
        const answer = await scene.exchange(agents[by], token, {
          ...(scope === undefined ? {} : { scope: scope.join(' ') }),
          ...(detail === undefined ? {} : { authorization_details: JSON.stringify([detail]) }),
        });
        const allowed =
          (scope ?? []).every((one) => right.scopes.includes(one)) &&
          (use === undefined ||
            (use.models.every((one) => right.models.includes(one)) && use.limit <= right.limit));
        if (!allowed) expect(answer.status).toBe(400);
        if (answer.status !== 200) continue;
        handedOn += 1;
        token = answer.body.access_token;
        const next = rightOf(token);
        expect(next.aud).toBe(right.aud);
        expect(next.exp).toBeLessThanOrEqual(right.exp);
        expect(next.limit).toBeLessThanOrEqual(right.limit);
        expect(right.scopes).toEqual(expect.arrayContaining(next.scopes));
        expect(right.models).toEqual(expect.arrayContaining(next.models));
        right = next;
      }
    }),
    { numRuns: 40, seed: 8693 },
  );
  // Most paths must lead to a token, or the test would prove nothing.
  expect(handedOn).toBeGreaterThan(20);
});
