import { defaultSigningAlg, type SigningAlg, signingAlgs } from '../crypto/algorithms.ts';
import { type Refusal, refuse } from '../errors.ts';
import {
  canMove,
  isFreshUnpublishedActivation,
  isPublishedLongEnough,
  type KeyTimes,
  keyTimes,
  type SigningKey,
  secondsUntilPublishedLongEnough,
  shouldActivate,
  shouldRetire,
} from './signing-key.ts';

/** One step of a plan. The steps are applied in order, in one transaction, all with the plan's `now`. */
export type RotationAction =
  /** Generates a key pair; `active` only at the very first start. */
  | { kind: 'create'; alg: SigningAlg; state: 'prepared' | 'active' }
  /** Prepared to active. `unpublished`: the key was not published long enough before; the audit event says so. */
  | { kind: 'activate'; alg: SigningAlg; kid: string; unpublished: boolean }
  /** Active to retiring: the key no longer signs, but stays published. */
  | { kind: 'start-retiring'; alg: SigningAlg; kid: string }
  /** Retiring to retired: the key is removed from the JWKS. */
  | { kind: 'retire'; alg: SigningAlg; kid: string }
  /** Any state to compromised: the key is removed from the JWKS at once, and its tokens become inactive. */
  | { kind: 'compromise'; alg: SigningAlg; kid: string };

/** A rotation that an admin requests. If neither `alg` nor `kid` is given, it is for the default algorithm. */
export interface RotationRequest {
  alg?: SigningAlg;
  kid?: string;
  compromised: boolean;
}

export interface RotationPlan {
  actions: RotationAction[];
  /** The error that the caller gets. The actions must be committed anyway. */
  refusal?: Refusal;
}

interface Situation {
  now: Date;
  times: KeyTimes;
  alg: SigningAlg;
  /** Every key of the algorithm. */
  keys: SigningKey[];
  active: SigningKey | undefined;
  prepared: SigningKey | undefined;
}

function situationOf(
  alg: SigningAlg,
  options: { now: Date; keys: SigningKey[]; times: KeyTimes },
): Situation {
  const keys = options.keys.filter((key) => key.alg === alg);
  return {
    ...options,
    alg,
    keys,
    active: keys.find((key) => key.state === 'active'),
    prepared: keys.find((key) => key.state === 'prepared'),
  };
}

const create = (alg: SigningAlg, state: 'prepared' | 'active'): RotationAction => ({
  kind: 'create',
  alg,
  state,
});

/** Activates `key` in place of the active one, and creates the next prepared key. */
function takeOver({ alg, active, now, times }: Situation, key: SigningKey): RotationAction[] {
  const unpublished = !isPublishedLongEnough(now, key, times);
  return [
    ...(active === undefined ? [] : [{ kind: 'start-retiring', alg, kid: active.kid } as const]),
    { kind: 'activate', alg, kid: key.kid, unpublished },
    create(alg, 'prepared'),
  ];
}

function noPublishedKey({ now, prepared, times }: Situation, detail: string): Refusal {
  const retryAfterSeconds =
    prepared === undefined ? times.publishLeadSeconds : secondsUntilPublishedLongEnough(now, prepared, times);
  return refuse('no-published-key', { detail, retryAfterSeconds: Math.max(1, retryAfterSeconds) });
}

/**
 * Plans what is due: retires keys that were retained long enough, activates the prepared key, and ensures that a
 * prepared key exists.
 */
function planDue(situation: Situation): RotationAction[] {
  const { alg, now, times, keys, active, prepared } = situation;
  const retire = keys
    .filter((key) => shouldRetire(now, key, times))
    .map(({ kid }): RotationAction => ({ kind: 'retire', alg, kid }));
  if (prepared === undefined) return [...retire, create(alg, 'prepared')];
  const due = shouldActivate({ now, prepared, active, times });
  return due ? [...retire, ...takeOver(situation, prepared)] : retire;
}

function planRotate(situation: Situation): RotationPlan {
  const { now, times, prepared } = situation;
  if (prepared === undefined || !isPublishedLongEnough(now, prepared, times)) {
    const detail = 'The next key has not been published long enough for every verifier to know it.';
    return { actions: [], refusal: noPublishedKey(situation, detail) };
  }
  return { actions: takeOver(situation, prepared) };
}

/** Plans the compromise of the active key. See `planRotation` for the rules. */
function planActiveCompromise(situation: Situation, isNamed: boolean): RotationPlan {
  const { alg, now, times, keys, active, prepared } = situation;
  if (active === undefined) {
    return { actions: [], refusal: noPublishedKey(situation, 'No key is active.') };
  }
  const compromise: RotationAction = { kind: 'compromise', alg, kid: active.kid };
  const justTookOver = isFreshUnpublishedActivation({ now, active, keys, times });
  if (prepared !== undefined && (isPublishedLongEnough(now, prepared, times) || !justTookOver)) {
    return { actions: [compromise, ...takeOver({ ...situation, active: undefined }, prepared)] };
  }
  if (isNamed || !justTookOver) {
    const detail = 'The key is revoked. No key signs until the next one has been published long enough.';
    const successor = prepared === undefined ? [create(alg, 'prepared')] : [];
    return { actions: [compromise, ...successor], refusal: noPublishedKey(situation, detail) };
  }
  const detail =
    'The active key has only just replaced a compromised one. If it leaked too, name its key_id.';
  return { actions: [], refusal: noPublishedKey(situation, detail) };
}

function planNamed(key: SigningKey, situation: Situation, compromised: boolean): RotationPlan {
  const { alg } = situation;
  const { kid, state } = key;
  if (!compromised) {
    if (state === 'active' || state === 'prepared') return planRotate(situation);
    return { actions: [], refusal: refuse('key-not-rotatable', { detail: `The key is ${state}.` }) };
  }
  if (!canMove(state, 'compromised')) {
    return { actions: [], refusal: refuse('key-not-rotatable', { detail: `The key is ${state} already.` }) };
  }
  if (state === 'active') return planActiveCompromise(situation, true);
  const successor = state === 'prepared' ? [create(alg, 'prepared')] : [];
  return { actions: [{ kind: 'compromise', alg, kid }, ...successor] };
}

function planRequest(
  request: RotationRequest,
  options: { now: Date; keys: SigningKey[]; times: KeyTimes },
): RotationPlan {
  if (request.kid === undefined) {
    const situation = situationOf(request.alg ?? defaultSigningAlg, options);
    return request.compromised ? planActiveCompromise(situation, false) : planRotate(situation);
  }
  const key = options.keys.find(({ kid }) => kid === request.kid);
  if (key === undefined) return { actions: [], refusal: refuse('not-found') };
  if (request.alg !== undefined && request.alg !== key.alg) {
    const detail = `The key is for ${key.alg}.`;
    return { actions: [], refusal: refuse('invalid-request', { detail }) };
  }
  return planNamed(key, situationOf(key.alg, options), request.compromised);
}

/**
 * Plans the changes to the signing keys at `now`. `keys` must contain all keys of all algorithms in any state.
 * Without a request, plans what is due; with a request, plans that rotation, for one algorithm.
 *
 * A key is published (prepared) for at least JWKS max-age + clock skew before it signs, and stays published
 * (retiring) for at least the maximum token lifetime + clock skew after its last signature. So a prepared key always
 * exists; when it becomes active, the next one is created.
 *
 * - If there are no keys at all, this is the very first start: an active and a prepared key are created for every
 *   algorithm, because no verifier can have an older JWKS. An algorithm that is added later has no active key until
 *   its first key has been published long enough.
 * - A manual rotation needs a prepared key that was published long enough. Otherwise it is refused with
 *   `no-published-key` and changes nothing.
 * - If the active key is compromised, the prepared key becomes active even if it was not published long enough
 *   (`unpublished`). Verifiers fetch the JWKS for an unknown `kid` only once in a while, so this must not happen
 *   twice in a row: if the active key itself replaced another this way less than the publish lead ago, and the
 *   prepared key has not been published long enough, the request is refused with `no-published-key`. Without a `kid`
 *   it then changes nothing: it is most likely a retry of the same request, which must not stop the broker. With a
 *   `kid`, that key is known to have leaked: it is compromised anyway, and no key signs until the prepared one may.
 * - If any other key is compromised, only that key is removed from use; a prepared one is replaced.
 *
 * Refusals: `no-published-key` (with Retry-After), `key-not-rotatable`, `not-found`, `invalid-request`.
 */
export function planRotation(options: {
  now: Date;
  keys: SigningKey[];
  request?: RotationRequest;
  times?: KeyTimes;
}): RotationPlan {
  const { now, keys, request, times = keyTimes } = options;
  if (request !== undefined) return planRequest(request, { now, keys, times });
  if (keys.length === 0) {
    return { actions: signingAlgs.flatMap((alg) => [create(alg, 'active'), create(alg, 'prepared')]) };
  }
  return { actions: signingAlgs.flatMap((alg) => planDue(situationOf(alg, { now, keys, times }))) };
}
