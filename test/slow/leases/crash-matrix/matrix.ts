import { beforeAll, describe, expect, it } from 'vitest';
import type { EngineKind } from '../../../../src/engines/terms.ts';
import { type OperationName, operationNames } from './operations.ts';
import { type Ending, type LanePlan, type LaneResult, runRound } from './round.ts';
import { type Scene, startScene } from './scene.ts';
import { targetKinds } from './targets.ts';

export interface MatrixSize {
  /** How many operations stop at the same time. */
  laneCount: number;
  /** How often a broker is killed, and how often it is stopped, at each step. */
  repetitions: number;
}

const endings: Record<Ending, string> = {
  kill: 'killed',
  stop: 'stopped, and continues after the sweep',
};

/** Tests every step of every operation on leases of a kind of target. The steps are found by running the operations once. */
export function testMatrix(kind: EngineKind, { laneCount, repetitions }: MatrixSize): void {
  describe.skipIf(targetKinds[kind].isMissing)(`leases of kind ${kind}`, () => {
    let scene: Scene;
    let plans: LanePlan[] = [];

    beforeAll(async () => {
      scene = await startScene(kind, laneCount);
    });

    it('leave nothing if a broker is killed after operations have ended', async () => {
      const whole = operationNames.map((operation) => ({ operation, step: undefined }));
      const results = await runRound(scene, { plans: whole, ending: 'kill' });
      for (const { messageCount } of results) expect(messageCount).toBeGreaterThan(1);
      plans = results.flatMap(toPlans);
      report(kind, plans);
    });

    it.each(Object.entries(endings) as [Ending, string][])(
      `leave nothing after a sweep if a broker gets a %s at each step (it is %s), ${repetitions} times each`,
      async (ending) => {
        const all = Array.from({ length: repetitions }, () => plans).flat();
        expect(all.length).toBeGreaterThan(0);
        const results: LaneResult[] = [];
        for (let n = 0; n < all.length; n += laneCount)
          results.push(...(await runRound(scene, { plans: all.slice(n, n + laneCount), ending })));
        const inside = results.filter(({ wasInside }) => wasInside).length;
        process.stderr.write(`${kind}: ${inside} of ${results.length} operations ${endings[ending]}\n`);
        // Messages that arrive together are one step, so an operation may have fewer steps than when they were counted.
        expect(inside).toBeGreaterThan(all.length * 0.8);
      },
    );
  });
}

/** Returns a plan for each step. */
function toPlans({ operation, messageCount }: LaneResult): LanePlan[] {
  return Array.from({ length: messageCount }, (_, n) => ({ operation, step: n + 1 }));
}

function report(kind: EngineKind, plans: readonly LanePlan[]): void {
  const count = (name: OperationName): number => plans.filter(({ operation }) => operation === name).length;
  const steps = operationNames.map((name) => `${name} ${count(name)}`).join(', ');
  process.stderr.write(`${kind}: steps: ${steps}\n`);
}
