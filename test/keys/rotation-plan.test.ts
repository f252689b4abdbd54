import { beforeEach, describe, expect, test } from 'vitest';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import { planRotation, type RotationPlan, type RotationRequest } from '../../src/keys/rotation-plan.ts';
import { keyTimes } from '../../src/keys/signing-key.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { KeyRing } from './key-ring.ts';

const { publishLeadSeconds: lead, retainSeconds, rotationSeconds } = keyTimes;

let clock: FakeClock;
let ring: KeyRing;

/** Plans and commits, as the service does in one transaction. */
function run(request?: RotationRequest): RotationPlan {
  const now = clock.now();
  const plan = planRotation({ now, keys: ring.keys, ...(request === undefined ? {} : { request }) });
  ring.apply(plan, now);
  return plan;
}

const kid = (state: 'active' | 'prepared' | 'retiring'): string =>
  ring.kidOf('ES256', state) ?? `no ${state}`;
const kinds = (plan: RotationPlan): string[] => plan.actions.map((action) => action.kind);
const stateOf = (name: string): string | undefined => ring.keys.find((key) => key.kid === name)?.state;
const refusalOf = ({ refusal }: RotationPlan) => ({
  code: refusal?.error.code,
  retryAfterSeconds: refusal?.error.retryAfterSeconds,
});

beforeEach(() => {
  clock = new FakeClock();
  ring = new KeyRing();
  run();
});

describe('what is due', () => {
  test('the very first start creates an active and a prepared key for every algorithm', () => {
    for (const alg of signingAlgs) {
      const made = ring.keys.filter((key) => key.alg === alg).map((key) => key.state);
      expect(made).toEqual(['active', 'prepared']);
    }
  });

  test('nothing is due directly after it, until the rotation', () => {
    expect(run().actions).toEqual([]);
    clock.advance(rotationSeconds - 1);
    expect(run().actions).toEqual([]);
  });

  test('when the rotation is due, the active key starts to retire, the prepared key becomes active, and the next one is created', () => {
    const [before, next] = [kid('active'), kid('prepared')];
    clock.advance(rotationSeconds);
    const plan = run();
    expect(plan.actions.filter(({ alg }) => alg === 'ES256')).toEqual([
      { kind: 'start-retiring', alg: 'ES256', kid: before },
      { kind: 'activate', alg: 'ES256', kid: next, unpublished: false },
      { kind: 'create', alg: 'ES256', state: 'prepared' },
    ]);
    expect(plan.actions).toHaveLength(3 * signingAlgs.length);
  });

  test('a retiring key is retired after the retention, not before', () => {
    clock.advance(rotationSeconds);
    run();
    const old = kid('retiring');
    clock.advance(retainSeconds - 1);
    expect(run().actions).toEqual([]);
    clock.advance(1);
    expect(run().actions).toContainEqual({ kind: 'retire', alg: 'ES256', kid: old });
    expect(stateOf(old)).toBe('retired');
  });

  test('an algorithm added later waits for its first key to be published long enough', () => {
    ring.keys = ring.keys.filter((key) => key.alg !== 'EdDSA');
    clock.advance(1e6);
    expect(run().actions).toContainEqual({ kind: 'create', alg: 'EdDSA', state: 'prepared' });
    expect(ring.kidOf('EdDSA', 'active')).toBeUndefined();
    clock.advance(lead - 1);
    run();
    expect(ring.kidOf('EdDSA', 'active')).toBeUndefined();
    clock.advance(1);
    run();
    expect(ring.kidOf('EdDSA', 'active')).toBeDefined();
  });
});

describe('a manual rotation', () => {
  test('is refused, and changes nothing, until the prepared key has been published long enough', () => {
    clock.advance(100);
    const plan = run({ compromised: false });
    expect(plan.actions).toEqual([]);
    expect(refusalOf(plan)).toEqual({ code: 'no-published-key', retryAfterSeconds: lead - 100 });
  });

  test('succeeds after Retry-After, for one algorithm only', () => {
    const next = kid('prepared');
    clock.advance(lead);
    const plan = run({ compromised: false });
    expect(kinds(plan)).toEqual(['start-retiring', 'activate', 'create']);
    expect(new Set(plan.actions.map(({ alg }) => alg))).toEqual(new Set(['ES256']));
    expect(kid('active')).toBe(next);
    expect(refusalOf(run({ compromised: false }))).toEqual({
      code: 'no-published-key',
      retryAfterSeconds: lead,
    });
  });

  test.each(['active', 'prepared'] as const)('may name the %s key', (state) => {
    clock.advance(lead);
    const next = kid('prepared');
    expect(run({ kid: kid(state), compromised: false }).refusal).toBeUndefined();
    expect(kid('active')).toBe(next);
  });

  test('applies to the requested algorithm', () => {
    clock.advance(lead);
    const [before, next] = [kid('active'), ring.kidOf('EdDSA', 'prepared')];
    run({ alg: 'EdDSA', compromised: false });
    expect([kid('active'), ring.kidOf('EdDSA', 'active')]).toEqual([before, next]);
  });

  test('of a retiring key is refused', () => {
    clock.advance(lead);
    run({ compromised: false });
    const plan = run({ kid: kid('retiring'), compromised: false });
    expect([plan.actions, refusalOf(plan).code]).toEqual([[], 'key-not-rotatable']);
  });

  test('of an unknown key, or of a key of another algorithm, is refused', () => {
    expect(refusalOf(run({ kid: 'key_x', compromised: false })).code).toBe('not-found');
    expect(refusalOf(run({ kid: 'key_x', compromised: true })).code).toBe('not-found');
    const request = { kid: kid('active'), alg: 'RS256', compromised: true } as const;
    expect(refusalOf(run(request)).code).toBe('invalid-request');
    expect(stateOf(request.kid)).toBe('active');
  });
});

describe('compromise of the active key', () => {
  test('activates a prepared key that was published long enough, as any rotation does', () => {
    clock.advance(lead);
    const [leaked, next] = [kid('active'), kid('prepared')];
    const plan = run({ compromised: true });
    expect(plan).toEqual({
      actions: [
        { kind: 'compromise', alg: 'ES256', kid: leaked },
        { kind: 'activate', alg: 'ES256', kid: next, unpublished: false },
        { kind: 'create', alg: 'ES256', state: 'prepared' },
      ],
    });
  });

  test('activates the prepared key at once, flagged, if no key was published long enough', () => {
    clock.advance(lead);
    run({ compromised: false });
    const [leaked, next] = [kid('active'), kid('prepared')];
    const plan = run({ kid: leaked, compromised: true });
    expect(plan.refusal).toBeUndefined();
    expect(plan.actions).toContainEqual({ kind: 'activate', alg: 'ES256', kid: next, unpublished: true });
    expect(stateOf(leaked)).toBe('compromised');
  });

  test('directly after the first start works once, too', () => {
    const next = kid('prepared');
    expect(run({ compromised: true }).refusal).toBeUndefined();
    expect(kid('active')).toBe(next);
  });

  test('directly after another one is refused, and changes nothing, if it names no key', () => {
    run({ compromised: true });
    clock.advance(60);
    const before = ring.keys;
    const plan = run({ compromised: true });
    expect(plan.actions).toEqual([]);
    expect(refusalOf(plan)).toEqual({ code: 'no-published-key', retryAfterSeconds: lead - 60 });
    expect(ring.keys).toEqual(before);
  });

  test('directly after another one, with the key_id of the active key, revokes that key; no key signs until the next one may', () => {
    run({ compromised: true });
    const [leaked, next] = [kid('active'), kid('prepared')];
    const plan = run({ kid: leaked, compromised: true });
    expect(plan.actions).toEqual([{ kind: 'compromise', alg: 'ES256', kid: leaked }]);
    expect(refusalOf(plan)).toEqual({ code: 'no-published-key', retryAfterSeconds: lead });
    clock.advance(lead - 1);
    run();
    expect(kid('active')).toBe('no active');
    for (const compromised of [true, false]) {
      expect(refusalOf(run({ compromised }))).toEqual({ code: 'no-published-key', retryAfterSeconds: 1 });
    }
    clock.advance(1);
    expect(run().actions).toContainEqual({ kind: 'activate', alg: 'ES256', kid: next, unpublished: false });
  });

  test('after another one and Retry-After works again', () => {
    run({ compromised: true });
    const retryAfterSeconds = refusalOf(run({ compromised: true })).retryAfterSeconds ?? 0;
    clock.advance(retryAfterSeconds);
    const next = kid('prepared');
    expect(run({ compromised: true }).actions).toContainEqual({
      kind: 'activate',
      alg: 'ES256',
      kid: next,
      unpublished: false,
    });
  });

  test('does not affect another algorithm', () => {
    const before = kid('active');
    run({ alg: 'RS256', compromised: true });
    expect(refusalOf(run({ alg: 'RS256', compromised: true })).code).toBe('no-published-key');
    expect(kid('active')).toBe(before);
    expect(run({ compromised: true }).refusal).toBeUndefined();
  });
});

describe('compromise of another key', () => {
  test('replaces a prepared one, and the active one continues to sign', () => {
    const [active, leaked] = [kid('active'), kid('prepared')];
    const plan = run({ kid: leaked, compromised: true });
    expect(kinds(plan)).toEqual(['compromise', 'create']);
    expect([kid('active'), stateOf(leaked)]).toEqual([active, 'compromised']);
    expect(kid('prepared')).not.toBe(leaked);
  });

  test.each(['retiring', 'retired'])('removes a %s one and changes nothing else', (state) => {
    clock.advance(lead);
    run({ compromised: false });
    const leaked = kid('retiring');
    if (state === 'retired') {
      clock.advance(retainSeconds);
      run();
    }
    expect(stateOf(leaked)).toBe(state);
    const action = { kind: 'compromise', alg: 'ES256', kid: leaked };
    expect(run({ kid: leaked, compromised: true })).toEqual({ actions: [action] });
  });

  test('is refused for a key that is already compromised', () => {
    const leaked = kid('active');
    run({ kid: leaked, compromised: true });
    for (const compromised of [true, false]) {
      const plan = run({ kid: leaked, compromised });
      expect([plan.actions, refusalOf(plan).code]).toEqual([[], 'key-not-rotatable']);
    }
  });
});
