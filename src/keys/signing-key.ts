import type { SigningAlg } from '../crypto/algorithms.ts';
import { addSeconds } from '../platform/clock.ts';

export type KeyState = 'prepared' | 'active' | 'retiring' | 'retired' | 'compromised';

/** The allowed transitions. */
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

/** Returns the states from which a key may move to `to`, for a compare-and-set on the state. */
export function statesBefore(to: KeyState): KeyState[] {
  return keyStates.filter((from) => canMove(from, to));
}

/** A key as the rotation rules need it, without key material. A time is null until the key reaches that state. */
export interface SigningKey {
  kid: string;
  alg: SigningAlg;
  state: KeyState;
  /** A key is published from its creation on. */
  createdAt: Date;
  activatedAt: Date | null;
  retiringAt: Date | null;
}

export interface KeyTimes {
  /** How long a key is published before it may sign. */
  publishLeadSeconds: number;
  /** How long a key stays published after its last signature. */
  retainSeconds: number;
  /** How long a key signs before the next one replaces it. */
  rotationSeconds: number;
}

/** `max-age` of the JWKS: how long a verifier may use a copy of it. */
export const jwksMaxAgeSeconds = 300;
/** The maximum lifetime of an access token. */
export const longestTokenSeconds = 900;
/** Allowance for the difference between clocks and for the time until a change reaches every replica. */
const marginSeconds = 60;

export const keyTimes: KeyTimes = {
  publishLeadSeconds: jwksMaxAgeSeconds + marginSeconds,
  retainSeconds: longestTokenSeconds + marginSeconds,
  rotationSeconds: 24 * 60 * 60,
};

const published: ReadonlySet<KeyState> = new Set<KeyState>(['prepared', 'active', 'retiring']);

/**
 * Whether the key is in the JWKS and is used by our own introspection. A prepared key is in both: another replica may
 * have just activated it, and a token without a row is inactive anyway.
 */
export function isPublished(key: Pick<SigningKey, 'state'>): boolean {
  return published.has(key.state);
}

/** Returns the whole seconds until `instant`, rounded up; 0 if it has passed. */
function secondsUntil(instant: Date, now: Date): number {
  return Math.max(0, Math.ceil((instant.getTime() - now.getTime()) / 1000));
}

/**
 * Returns the seconds until every JWKS that a verifier may still use contains the key, for `Retry-After`; 0 if all
 * do.
 */
export function secondsUntilPublishedLongEnough(now: Date, key: SigningKey, times = keyTimes): number {
  return secondsUntil(addSeconds(key.createdAt, times.publishLeadSeconds), now);
}

export function isPublishedLongEnough(now: Date, key: SigningKey, times = keyTimes): boolean {
  return secondsUntilPublishedLongEnough(now, key, times) === 0;
}

/**
 * Whether the prepared key should become active: there is no active key, or it has signed for the rotation period.
 * Never before the prepared key has been published long enough.
 */
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

/** Whether every token that the key signed has expired, with an allowance (`marginSeconds`). */
export function shouldRetire(now: Date, key: SigningKey, times = keyTimes): boolean {
  if (key.state !== 'retiring' || key.retiringAt === null) return false;
  return secondsUntil(addSeconds(key.retiringAt, times.retainSeconds), now) === 0;
}

/**
 * Whether the active key began to sign before it was published long enough, and did so less than `publishLeadSeconds`
 * ago (a safe bound on how long a verifier may use a JWKS without it). `keys` must contain every key of the algorithm
 * in any state. False for the first key of its algorithm that ever signed: no earlier token of this algorithm exists.
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
  const freshUntil = addSeconds(active.activatedAt, times.publishLeadSeconds);
  return !isFirst && secondsUntil(freshUntil, now) > 0;
}
