import type { SigningAlg } from '../crypto/algorithms.ts';
import { addSeconds } from '../platform/clock.ts';

export type KeyState = 'prepared' | 'active' | 'retiring' | 'retired' | 'compromised';

/** Every way a key may go. Nothing leads back, and nothing leads out of `compromised`. */
const transitions: Record<KeyState, readonly KeyState[]> = {
  prepared: ['active', 'compromised'],
  active: ['retiring', 'compromised'],
  retiring: ['retired', 'compromised'],
  retired: ['compromised'],
  compromised: [],
};

export const keyStates = Object.keys(transitions) as KeyState[];

export function canMove(from: KeyState, to: KeyState): boolean {
  return transitions[from].includes(to);
}

/** The states from which a key may go to `to`: what a compare-and-set on the state compares with. */
export function statesBefore(to: KeyState): KeyState[] {
  return keyStates.filter((from) => canMove(from, to));
}

/** What the rules need of a key; the key material stays out. A time is null until the key got there. */
export interface SigningKey {
  kid: string;
  alg: SigningAlg;
  state: KeyState;
  /** Also the instant since which it is published. */
  createdAt: Date;
  activatedAt: Date | null;
  retiringAt: Date | null;
}

export interface KeyTimes {
  /** How long a key is published before it may sign. */
  publishLeadSeconds: number;
  /** How long a key that signed for the last time stays published. */
  retainSeconds: number;
  /** How long a key signs before the next one takes over. */
  rotationSeconds: number;
}

/** `max-age` of the JWKS: the oldest one that a verifier may still use. */
export const jwksMaxAgeSeconds = 300;
/** The longest life of an access token. */
export const longestTokenSeconds = 900;
/** How far clocks may differ, and how long a change may take to reach every replica. */
const clockSkewSeconds = 60;

export const keyTimes: KeyTimes = {
  publishLeadSeconds: jwksMaxAgeSeconds + clockSkewSeconds,
  retainSeconds: longestTokenSeconds + clockSkewSeconds,
  rotationSeconds: 24 * 60 * 60,
};

const published: ReadonlySet<KeyState> = new Set<KeyState>(['prepared', 'active', 'retiring']);

/**
 * Whether the key is in the JWKS, and whether our own introspection verifies with it. A prepared key counts in
 * both: another replica may have made it active a moment ago, and a token without a row is inactive anyway.
 */
export function isPublished(key: Pick<SigningKey, 'state'>): boolean {
  return published.has(key.state);
}

/** Whole seconds, rounded up, until `instant`; 0 if it is past. */
function secondsUntil(instant: Date, now: Date): number {
  return Math.max(0, Math.ceil((instant.getTime() - now.getTime()) / 1000));
}

/** Seconds until every JWKS that a verifier may still use holds the key; 0 if that is so. For `Retry-After`. */
export function secondsUntilPublishedLongEnough(now: Date, key: SigningKey, times = keyTimes): number {
  return secondsUntil(addSeconds(key.createdAt, times.publishLeadSeconds), now);
}

export function isPublishedLongEnough(now: Date, key: SigningKey, times = keyTimes): boolean {
  return secondsUntilPublishedLongEnough(now, key, times) === 0;
}

/** A prepared key takes over when the active one has signed its time, or is missing, but never too early. */
export function shouldActivate(options: {
  now: Date;
  prepared: SigningKey;
  active: SigningKey | undefined;
  times?: KeyTimes;
}): boolean {
  const { now, prepared, active, times = keyTimes } = options;
  if (!isPublishedLongEnough(now, prepared, times)) return false;
  const since = active?.activatedAt ?? null;
  return since === null || secondsUntil(addSeconds(since, times.rotationSeconds), now) === 0;
}

/** Whether every token that the key signed has expired by every clock. */
export function shouldRetire(now: Date, key: SigningKey, times = keyTimes): boolean {
  if (key.state !== 'retiring' || key.retiringAt === null) return false;
  return secondsUntil(addSeconds(key.retiringAt, times.retainSeconds), now) === 0;
}

/**
 * Whether the active key began to sign before it was published long enough, and so recently that a verifier may
 * still hold a JWKS without it. `keys` is every key of the algorithm that there ever was: the first key that ever
 * signed is no such case, because nobody can hold a JWKS older than it.
 */
export function isFreshUnpublishedActivation(options: {
  now: Date;
  active: SigningKey;
  keys: SigningKey[];
  times?: KeyTimes;
}): boolean {
  const { now, active, keys, times = keyTimes } = options;
  if (active.activatedAt === null || isPublishedLongEnough(active.activatedAt, active, times)) return false;
  const isFirst = keys.every(
    (key) => key.kid === active.kid || key.alg !== active.alg || key.activatedAt === null,
  );
  const settled = addSeconds(active.activatedAt, times.publishLeadSeconds);
  return !isFirst && secondsUntil(settled, now) > 0;
}
