import fc from 'fast-check';
import { expect, test } from 'vitest';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import { planRotation, type RotationAction, type RotationRequest } from '../../src/keys/rotation-plan.ts';
import { isPublished, keyTimes, type SigningKey } from '../../src/keys/signing-key.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { KeyRing } from './key-ring.ts';

interface Step {
  waitSeconds: number;
  act: 'tick' | 'rotate' | 'compromise';
  /** The index of the key that the step names; a number past the last key names no key. */
  pick: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  waitSeconds: fc.oneof(
    fc.constantFrom(0, 0, 1, 59, 359, 360, 361, 960, 86_400),
    fc.integer({ min: 0, max: 2000 }),
  ),
  act: fc.constantFrom('tick', 'rotate', 'compromise'),
  pick: fc.nat(30),
});

function requestOf({ act, pick }: Step, keys: SigningKey[]): RotationRequest | undefined {
  if (act === 'tick') return undefined;
  const kid = keys[pick]?.kid;
  return { compromised: act === 'compromise', ...(kid === undefined ? {} : { kid }) };
}

const secondsBetween = (from: Date, to: Date): number => (to.getTime() - from.getTime()) / 1000;

/** Asserts what must hold for each action, given the keys before it. */
function checkAction(action: RotationAction, before: KeyRing['keys'], now: Date): void {
  if (action.kind === 'create') {
    if (action.state === 'active') expect(before).toEqual([]);
    return;
  }
  const key = before.find(({ kid }) => kid === action.kid);
  expect(key?.alg).toBe(action.alg);
  if (key === undefined) return;
  if (action.kind === 'activate') {
    const waited = secondsBetween(key.createdAt, now);
    expect(action.unpublished).toBe(waited < keyTimes.publishLeadSeconds);
  }
  if (action.kind === 'retire') {
    expect(secondsBetween(key.retiringAt ?? now, now)).toBeGreaterThanOrEqual(keyTimes.retainSeconds);
  }
}

/**
 * Runs a history from the first start, and calls `check` around every step. The ring itself refuses illegal
 * transitions.
 */
function replay(steps: Step[], check: (ring: KeyRing, actions: RotationAction[], now: Date) => void): void {
  const clock = new FakeClock();
  const ring = new KeyRing();
  for (const next of [{ waitSeconds: 0, act: 'tick', pick: 0 } as const, ...steps]) {
    clock.advance(next.waitSeconds);
    const now = clock.now();
    const before = ring.keys;
    const request = requestOf(next, ring.keys);
    const plan = planRotation({ now, keys: before, ...(request === undefined ? {} : { request }) });
    for (const action of plan.actions) checkAction(action, before, now);
    ring.apply(plan, now);
    check(ring, plan.actions, now);
  }
}

const histories = fc.array(step, { maxLength: 40 });
const runs = { numRuns: 300 };

test('a key signs only after the lead unless flagged, is retained long enough, and moves only forward', () => {
  fc.assert(
    fc.property(histories, (steps) => replay(steps, () => undefined)),
    runs,
  );
});

test('each algorithm always has exactly one prepared key, and at most one active key', () => {
  fc.assert(
    fc.property(histories, (steps) =>
      replay(steps, (ring) => {
        for (const alg of signingAlgs) {
          const count = (state: string) =>
            ring.keys.filter((key) => key.alg === alg && key.state === state).length;
          expect(count('prepared')).toBe(1);
          expect(count('active')).toBeLessThanOrEqual(1);
        }
      }),
    ),
    runs,
  );
});

test('a compromised key never has any other state again, and is never in the JWKS again', () => {
  fc.assert(
    fc.property(histories, (steps) => {
      const dead = new Set<string>();
      replay(steps, (ring) => {
        for (const key of ring.keys) {
          if (dead.has(key.kid)) expect(isPublished(key)).toBe(false);
          if (key.state === 'compromised') dead.add(key.kid);
          if (dead.has(key.kid)) expect(key.state).toBe('compromised');
        }
      });
    }),
    runs,
  );
});

test('no two unpublished activations of an algorithm are closer than the lead', () => {
  fc.assert(
    fc.property(histories, (steps) => {
      const last = new Map<string, Date>();
      replay(steps, (_, actions, now) => {
        for (const action of actions) {
          if (action.kind !== 'activate' || !action.unpublished) continue;
          const previous = last.get(action.alg);
          const apart = previous === undefined ? Number.POSITIVE_INFINITY : secondsBetween(previous, now);
          expect(apart).toBeGreaterThanOrEqual(keyTimes.publishLeadSeconds);
          last.set(action.alg, now);
        }
      });
    }),
    runs,
  );
});

test('only compromise activates an unpublished key', () => {
  fc.assert(
    fc.property(histories, (steps) =>
      replay(steps, (_, actions) => {
        const flagged = actions.filter((action) => action.kind === 'activate' && action.unpublished);
        if (flagged.length > 0) expect(actions.map(({ kind }) => kind)).toContain('compromise');
      }),
    ),
    runs,
  );
});

test('one run after a quiet lead, every algorithm can sign again after any history', () => {
  fc.assert(
    fc.property(histories, (steps) => {
      const quiet: Step = { waitSeconds: keyTimes.publishLeadSeconds, act: 'tick', pick: 0 };
      let ring = new KeyRing();
      replay([...steps, quiet], (at) => {
        ring = at;
      });
      for (const alg of signingAlgs) expect(ring.kidOf(alg, 'active')).toBeDefined();
    }),
    runs,
  );
});
