import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  canMove,
  isFreshUnpublishedActivation,
  isPublished,
  isPublishedLongEnough,
  type KeyState,
  keyTimes,
  type SigningKey,
  secondsUntilPublishedLongEnough,
  shouldActivate,
  shouldRetire,
  statesBefore,
} from '../../src/keys/signing-key.ts';
import { addSeconds } from '../../src/platform/clock.ts';

const start = new Date('2026-03-02T10:00:00.000Z');
const at = (seconds: number): Date => addSeconds(start, seconds);
const lead = keyTimes.publishLeadSeconds;
const states: KeyState[] = ['prepared', 'active', 'retiring', 'retired', 'compromised'];

function key(changes: Partial<SigningKey> = {}): SigningKey {
  return {
    kid: 'key_1',
    alg: 'ES256',
    state: 'prepared',
    createdAt: start,
    activatedAt: null,
    retiringAt: null,
    ...changes,
  };
}

describe('states', () => {
  test('the only transitions are prepared, active, retiring, retired in this order, and any state to compromised', () => {
    const moves = states.flatMap((from) =>
      states.filter((to) => canMove(from, to)).map((to) => `${from}>${to}`),
    );
    expect(moves).toEqual([
      'prepared>active',
      'prepared>compromised',
      'active>retiring',
      'active>compromised',
      'retiring>retired',
      'retiring>compromised',
      'retired>compromised',
    ]);
  });

  test('statesBefore agrees with canMove', () => {
    fc.assert(
      fc.property(fc.constantFrom(...states), fc.constantFrom(...states), (from, to) => {
        expect(statesBefore(to).includes(from)).toBe(canMove(from, to));
      }),
    );
    expect(statesBefore('active')).toEqual(['prepared']);
  });

  test('prepared, active and retiring keys are in the JWKS; retired and compromised ones are not', () => {
    expect(states.filter((state) => isPublished({ state }))).toEqual(['prepared', 'active', 'retiring']);
  });
});

test('the lead covers the JWKS max-age and the clock skew; the retention covers the longest token and the clock skew', () => {
  expect(keyTimes).toEqual({ publishLeadSeconds: 360, retainSeconds: 960, rotationSeconds: 86_400 });
});

test('a key is published long enough from the lead on, not a millisecond earlier', () => {
  expect(isPublishedLongEnough(at(lead - 0.001), key())).toBe(false);
  expect(secondsUntilPublishedLongEnough(at(lead - 0.001), key())).toBe(1);
  expect(isPublishedLongEnough(at(lead), key())).toBe(true);
  expect(secondsUntilPublishedLongEnough(at(lead + 99), key())).toBe(0);
});

test('a clock that was set back delays a key, and never speeds it up', () => {
  expect(isPublishedLongEnough(at(-1000), key())).toBe(false);
  expect(secondsUntilPublishedLongEnough(at(-1000), key())).toBe(1000 + lead);
});

test('a prepared key becomes active when the active one has signed for its time', () => {
  const active = key({ kid: 'key_0', state: 'active', activatedAt: start });
  const due = (seconds: number) => shouldActivate({ now: at(seconds), prepared: key(), active });
  expect(due(keyTimes.rotationSeconds - 0.001)).toBe(false);
  expect(due(keyTimes.rotationSeconds)).toBe(true);
});

test('a prepared key that is not published long enough does not become active, however old the active one is', () => {
  const active = key({ kid: 'key_0', state: 'active', activatedAt: at(-1e6) });
  const due = (seconds: number) => shouldActivate({ now: at(seconds), prepared: key(), active });
  expect(due(lead - 1)).toBe(false);
  expect(due(lead)).toBe(true);
});

test('without an active key the prepared one becomes active as soon as it may', () => {
  const due = (seconds: number) => shouldActivate({ now: at(seconds), prepared: key(), active: undefined });
  expect(due(lead - 1)).toBe(false);
  expect(due(lead)).toBe(true);
});

test('a retiring key is retained for the whole retention, and other keys are not retired', () => {
  const retiring = key({ state: 'retiring', retiringAt: start });
  expect(shouldRetire(at(keyTimes.retainSeconds - 0.001), retiring)).toBe(false);
  expect(shouldRetire(at(keyTimes.retainSeconds), retiring)).toBe(true);
  for (const state of states.filter((other) => other !== 'retiring')) {
    expect(shouldRetire(at(1e9), key({ state, retiringAt: start }))).toBe(false);
  }
});

describe('a fresh unpublished activation', () => {
  const before = key({ kid: 'key_0', state: 'compromised', activatedAt: at(-1e5), createdAt: at(-2e5) });
  const active = key({ state: 'active', activatedAt: at(100) });
  const isFresh = (now: Date, keys: SigningKey[], one = active) =>
    isFreshUnpublishedActivation({ now, active: one, keys });

  test('is reported until the lead after the activation has passed', () => {
    expect(isFresh(at(100), [before, active])).toBe(true);
    expect(isFresh(at(100 + lead - 1), [before, active])).toBe(true);
    expect(isFresh(at(100 + lead), [before, active])).toBe(false);
  });

  test('is not reported if the key had been published long enough', () => {
    const proper = key({ state: 'active', activatedAt: at(lead) });
    expect(isFresh(at(lead), [before, proper], proper)).toBe(false);
  });

  test('is not reported for the very first key, although it signed at once', () => {
    const first = key({ state: 'active', activatedAt: start });
    const prepared = key({ kid: 'key_2' });
    const otherAlg = key({ kid: 'key_3', alg: 'RS256', state: 'active', activatedAt: start });
    expect(isFresh(start, [first, prepared, otherAlg], first)).toBe(false);
  });
});
