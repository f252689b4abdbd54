import { expect, it } from 'vitest';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { createPolicyEngine } from '../../../src/policies/engine.ts';
import { lowRiskAtOnce, onePersonAgrees, productionDatabases } from '../../policies/fixtures.ts';

it('loading policies 2,800 times does not increase memory', () => {
  const engine = createPolicyEngine({ random: createSystemRandom() });
  const texts = [lowRiskAtOnce, onePersonAgrees, productionDatabases].join('\n').repeat(3);
  const growthOf = (from: number, to: number): number => {
    const before = process.memoryUsage().rss;
    for (let i = from; i < to; i += 1) {
      engine.load([{ id: 'pol_0', version: i, cedar: `${texts}// ${i}` }], i);
    }
    return process.memoryUsage().rss - before;
  };
  growthOf(0, 400);
  // A leak in each load appears in every round; memory that the collector has not yet freed does not.
  const growths = [400, 1200, 2000].map((from) => growthOf(from, from + 800));
  expect(Math.min(...growths)).toBeLessThan(20 * 1024 * 1024);
});
