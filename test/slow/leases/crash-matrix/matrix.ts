import { beforeAll, describe, expect, it } from 'vitest';
import type { EngineKind } from '../../../../src/engines/terms.ts';
import { type OperationName, operationNames } from './operations.ts';
import { type Interruption, type LanePlan, type LaneResult, runRound } from './round.ts';
import { type Scene, startScene } from './scene.ts';
import { targetKinds } from './targets.ts';

export interface MatrixSize {
  /** How many operations run, and are interrupted, at the same time. */
  laneCount: number;
  /** How often a broker is killed at each step, and how often it is stopped. */
  repetitions: number;
  /**
   * If n, a broker is killed at one of n steps and stopped at another one; if undefined, it is killed and stopped at each step.
   */
  stride?: number;
}

/** Ends a test that hangs: a campaign has dozens of rounds, and each takes seconds. */
const timeoutMs = 3_600_000;

/**
 * Tests every step of every operation on leases of a kind of target. The steps are found by running the operations once, so that no new
 * step is forgotten.
 */
export function testMatrix(kind: EngineKind, size: MatrixSize): void {
  describe.skipIf(targetKinds[kind].isMissing)(`leases of kind ${kind}`, () => {
    const { laneCount } = size;
    let scene: Scene;
    let steps: LanePlan[] = [];

    beforeAll(async () => {
      scene = await startScene(kind, laneCount);
    });

    it('leave nothing after a sweep if a broker is killed after its operations have ended', async () => {
      const whole = operationNames.map((operation) => ({ operation, step: undefined }));
      const results = await runRound(scene, { plans: whole, interruption: 'kill' });
      for (const { messageCount } of results) expect(messageCount).toBeGreaterThan(1);
      steps = results.flatMap(toPlans);
      log(`${kind}: steps: ${operationNames.map((name) => `${name} ${countOf(steps, name)}`).join(', ')}`);
    });

    it.each([
      ['kill', 'killed'],
      ['stop', 'stopped, and continues after the sweep,'],
    ] as const)(
      'leave nothing after a sweep (%s) if a broker is %s at a step',
      async (interruption, what) => {
        const plans = plansFor(steps, interruption, size);
        expect(plans.length).toBeGreaterThan(0);
        const results: LaneResult[] = [];
        for (let n = 0; n < plans.length; n += laneCount)
          results.push(...(await runRound(scene, { plans: plans.slice(n, n + laneCount), interruption })));
        const interrupted = results.filter(({ wasInterrupted }) => wasInterrupted).length;
        log(`${kind}: ${interrupted} of ${results.length} operations were ${what} at their step`);
        // Messages that arrive together are one step: an operation may have fewer steps than when they were counted.
        expect(interrupted).toBeGreaterThan(plans.length * 0.7);
      },
      timeoutMs,
    );
  });
}

const log = (line: string): void => void process.stderr.write(`${line}\n`);

const countOf = (plans: readonly LanePlan[], name: OperationName): number =>
  plans.filter(({ operation }) => operation === name).length;

/** Returns the steps at which a broker is interrupted in this way. */
function plansFor(
  steps: readonly LanePlan[],
  interruption: Interruption,
  { repetitions, stride }: MatrixSize,
): LanePlan[] {
  const first = interruption === 'kill' ? 0 : Math.floor((stride ?? 0) / 2);
  const chosen = stride === undefined ? steps : steps.filter((_step, n) => n % stride === first);
  return Array.from({ length: repetitions }, () => chosen).flat();
}

/** Returns a plan for each step. */
function toPlans({ operation, messageCount }: LaneResult): LanePlan[] {
  return Array.from({ length: messageCount }, (_, n) => ({ operation, step: n + 1 }));
}
