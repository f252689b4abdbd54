import type { Audit } from '../audit/audit.ts';
import { byAct, systemActor } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import {
  defaultSigningAlg,
  exportPublicJwk,
  generateSigningKeyPair,
  importPublicJwk,
  type KeyPair,
  type PublicJwk,
  type SigningAlg,
} from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Refusal } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import { applyPlan, generateSpare, type SparePairs } from './apply-plan.ts';
import { createKeyRing, type KeyRing } from './key-ring.ts';
import { resealKeys } from './reseal.ts';
import { planRotation, type RotationRequest } from './rotation-plan.ts';
import * as store from './store.ts';

export interface KeysDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  envelope: Envelope;
  /** Called for a published key that this replica cannot use, once until it is fixed. */
  onBroken: (kid: string, error: Error) => void;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
  generateKeyPair?: (alg: SigningAlg) => Promise<KeyPair>;
}

/** A rotation that an admin requests. If neither `alg` nor `kid` is given, it is for the default algorithm. */
export interface KeyRotation {
  alg?: SigningAlg | undefined;
  kid?: string | undefined;
  compromised: boolean;
  reason: string;
}

export type { KeyRecord } from './store.ts';
export type KeysService = ReturnType<typeof createKeysService>;

interface Context extends Required<KeysDeps> {
  ring: KeyRing;
}

/** Creates the service for the signing keys, which are created, rotated and published automatically by any replica. */
export function createKeysService(deps: KeysDeps) {
  const ring = createKeyRing(deps);
  const context = { generateKeyPair: generateSigningKeyPair, ...deps, ring };
  return {
    ring,
    start: () => start(context),
    status: () => status(context),
    rotateDue: (fence: (tx: Tx) => Promise<void>) => rotateDue(context, fence),
    rotate: (act: Act<Person>, request: KeyRotation) => rotate(context, act, request),
    list: (): Promise<store.KeyRecord[]> => store.listKeys(deps.db),
    jwks: () => jwks(deps),
    /** Whether a key for `alg`, or any key if `alg` is undefined, is active in the database. */
    hasActiveKey: (alg?: SigningAlg): Promise<boolean> => store.hasActiveKey(deps.db, alg),
  };
}

/**
 * Carries out the due changes and reads the keys: at the very first start, an active and a prepared key for every
 * algorithm; later, the next steps of rotation, and encryption under a new master key. `fence` runs in the same
 * transaction. Returns the number of changes.
 */
async function applyDueChanges(context: Context, fence: (tx: Tx) => Promise<void>): Promise<number> {
  const { db, clock, ring } = context;
  const actor = systemActor('rotate-keys');
  const spare = await prepareSpare(context);
  const count = await withTransaction(db, async (tx) => {
    await store.lockKeys(tx);
    await fence(tx);
    const now = clock.now();
    const { actions } = planRotation({ now, keys: await store.listKeys(tx) });
    await applyPlan(context, tx, { actions, spare, now, actor });
    return actions.length + (await resealKeys(context, tx));
  });
  await ring.refresh();
  return count;
}

/** Generates the key pairs for the current plan; `request` is that of an admin. */
async function prepareSpare(context: Context, request?: RotationRequest): Promise<SparePairs> {
  const keys = await store.listKeys(context.db);
  const options = { now: context.clock.now(), keys, ...(request === undefined ? {} : { request }) };
  return generateSpare(context, planRotation(options).actions);
}

/**
 * Carries out the due changes before this replica serves requests. A key that cannot be used stops only its
 * algorithm, not the start.
 */
async function start(context: Context): Promise<void> {
  await applyDueChanges(context, async () => {});
}

/**
 * Carries out the due changes as a job. `fence` throws if this process no longer holds the job's lease. Returns the
 * number of changes. Also throws, after its commit and in every run, while a published key cannot be used.
 */
async function rotateDue(context: Context, fence: (tx: Tx) => Promise<void>): Promise<number> {
  const count = await applyDueChanges(context, fence);
  const broken = context.ring.broken();
  if (broken.length === 0) return count;
  throw new Error(broken.map(({ error }) => error.message).join('; '), { cause: broken[0]?.error });
}

/** Reads the keys and returns whether this replica can sign, and the ids of the published keys that it cannot use. */
async function status({ ring }: Context): Promise<{ canSign: boolean; broken: string[] }> {
  await ring.refresh();
  return { canSign: ring.canSign(), broken: ring.broken().map(({ kid }) => kid) };
}

/**
 * Rotates the key of one algorithm now. Returns all keys of that algorithm, newest first. Throws `no-published-key`
 * (with `retryAfterSeconds`), `key-not-rotatable`, `not-found`, `invalid-request`. A compromised key is revoked even
 * if no key is left to sign with.
 */
async function rotate(context: Context, act: Act<Person>, rotation: KeyRotation): Promise<store.KeyRecord[]> {
  const { db, clock, ring, grantEndings } = context;
  const request = requestOf(rotation);
  try {
    const spare = await prepareSpare(context, request);
    return await withTransaction(db, async (tx): Promise<store.KeyRecord[] | Refusal> => {
      await store.lockKeys(tx);
      const now = clock.now();
      const keys = await store.listKeys(tx);
      const { actions, refusal } = planRotation({ now, keys, request });
      await applyPlan(context, tx, { actions, spare, now, ...byAct(act), reason: rotation.reason });
      const reason = 'the key that signed its subject token was compromised';
      for (const action of actions) {
        if (action.kind !== 'compromise') continue;
        const selection = { kind: 'tokens_signed_by' as const, kid: action.kid };
        await grantEndings.end(tx, { ...byAct(act), selection, at: now, reason });
      }
      return refusal ?? (await listConcerned(tx, rotation));
    });
  } finally {
    // The rotation is committed even if this refresh fails: the next user of the ring refreshes it again.
    await ring.refresh().catch(() => undefined);
    if (rotation.compromised) await grantEndings.settle();
  }
}

function requestOf({ alg, kid, compromised }: KeyRotation): RotationRequest {
  return { compromised, ...(alg === undefined ? {} : { alg }), ...(kid === undefined ? {} : { kid }) };
}

async function listConcerned(tx: Tx, { alg, kid }: KeyRotation): Promise<store.KeyRecord[]> {
  const keys = await store.listKeys(tx);
  const concerned = keys.find((key) => key.kid === kid)?.alg ?? alg ?? defaultSigningAlg;
  return keys.filter((key) => key.alg === concerned);
}

/**
 * Returns the JWK Set (RFC 7517 section 5). Reads it each time, so that a compromised key is removed at once. A key
 * that cannot be read is left out; the key ring reports it.
 */
async function jwks({ db }: KeysDeps): Promise<{ keys: PublicJwk[] }> {
  const stored = await store.listPublicJwks(db);
  return { keys: stored.flatMap((jwk) => publicPart(jwk) ?? []) };
}

/** Returns a copy with the public members only, in case a row contains others. */
function publicPart(jwk: PublicJwk): PublicJwk | undefined {
  try {
    return exportPublicJwk({ ...jwk, key: importPublicJwk(jwk) });
  } catch {
    return undefined;
  }
}
