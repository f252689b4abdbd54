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

/** One step. A plan's steps are applied in their order and in one transaction, all with the plan's `now`. */
export type RotationAction =
  /** Make a new key pair; `active` only at the very first start. */
  | { kind: 'create'; alg: SigningAlg; state: 'prepared' | 'active' }
  /** Prepared to active. `unpublished`: it signs before it was published long enough, which is audited. */
  | { kind: 'activate'; alg: SigningAlg; kid: string; unpublished: boolean }
  /** Active to retiring: it signs no more and stays published. */
  | { kind: 'start-retiring'; alg: SigningAlg; kid: string }
  /** Retiring to retired: it leaves the JWKS. */
  | { kind: 'retire'; alg: SigningAlg; kid: string }
  /** Any state to compromised: it leaves the JWKS at once and its tokens are dead. */
  | { kind: 'compromise'; alg: SigningAlg; kid: string };

/** What an admin asks for. Neither `alg` nor `kid`: the default algorithm. */
export interface RotationRequest {
  alg?: SigningAlg;
  kid?: string;
  compromised: boolean;
}

export interface RotationPlan {
  actions: RotationAction[];
  /** What the caller is told instead of success. The actions are to be committed all the same. */
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

/** `key` takes over from whatever is active, and the next one is published at once. */
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

/** What is due by itself: retire what has been kept long enough, rotate, and always have a key prepared. */
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

/** Takes the active key out. See `planRotation` for the rule. */
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
    const detail = 'The key is out. Nothing signs until the next one has been published long enough.';
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
    const detail = `The key is one for ${key.alg}.`;
    return { actions: [], refusal: refuse('invalid-request', { detail }) };
  }
  return planNamed(key, situationOf(key.alg, options), request.compromised);
}

/**
 * What to do to the signing keys at `now`. `keys` is every key of every algorithm that there ever was, whatever
 * its state. Without a request: what is due. With one: what it takes, for one algorithm.
 *
 * The rule: a key is published (it is prepared) for at least JWKS max-age + clock skew before it signs, and stays
 * published (retiring) for at least the longest token life + skew after it signed for the last time. So a prepared
 * key waits at all times; as soon as it takes over, the next one is made.
 *
 * - No key at all is the very first start: an active and a prepared key for every algorithm, because nobody can
 *   hold an older JWKS. An algorithm added later has no active key until its first one was published long enough.
 * - A rotation by hand needs a prepared key that was published long enough, else `no-published-key` and nothing
 *   changes.
 * - Compromise of the active key: the prepared key takes over, published long enough or not (`unpublished`).
 *   Verifiers that fetch the JWKS for an unknown `kid` do so once in a while, so this works once and not twice:
 *   if the active key took over that way itself less than the publish lead ago and the prepared one has not been
 *   published long enough either, the answer is `no-published-key`. Unless the request names the key, nothing
 *   changes then: it is most often the same request sent again, and must not stop the broker. A key that is named
 *   is known to have leaked: it is compromised all the same, and nothing signs until the prepared key may.
 * - Compromise of any other key takes it out and touches nothing else; a prepared one is replaced.
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
