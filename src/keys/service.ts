import { byAct, systemActor } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import type { Act, Person } from '../caller.ts';
import {
  defaultSigningAlg,
  exportPublicJwk,
  importPublicJwk,
  type PublicJwk,
  type SigningAlg,
} from '../crypto/algorithms.ts';
import type { Envelope } from '../crypto/envelope.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Refusal } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import { applyPlan } from './apply-plan.ts';
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
  /** Told of a published key that is not usable on this replica, once until it is mended. */
  onBroken: (kid: string, error: Error) => void;
}

/** What an admin asks for. Neither `alg` nor `kid`: the default algorithm. */
export interface KeyRotation {
  alg?: SigningAlg | undefined;
  kid?: string | undefined;
  compromised: boolean;
  reason: string;
}

export type { KeyRecord } from './store.ts';
export type KeysService = ReturnType<typeof createKeysService>;

interface Context extends KeysDeps {
  ring: KeyRing;
}

/** The signing keys: made, rotated and published by themselves, on whichever replica comes first. */
export function createKeysService(deps: KeysDeps) {
  const ring = createKeyRing(deps);
  const context = { ...deps, ring };
  return {
    ring,
    start: () => start(context),
    status: () => status(context),
    rotateDue: (fence: (tx: Tx) => Promise<void>) => rotateDue(context, fence),
    rotate: (act: Act<Person>, request: KeyRotation) => rotate(context, act, request),
    list: (): Promise<store.KeyRecord[]> => store.listKeys(deps.db),
    jwks: () => jwks(deps),
    /** Whether a key is active in the database: one for `alg`, or any if that is not given. */
    hasActiveKey: (alg?: SigningAlg): Promise<boolean> => store.hasActiveKey(deps.db, alg),
  };
}

/**
 * Does what is due and reads the keys: at the very first start an active and a prepared key for every algorithm, later
 * the next steps of rotation, and sealing anew what an old master key sealed. `fence` runs in the same transaction.
 * Answers the number of changes.
 */
async function doWhatIsDue(context: Context, fence: (tx: Tx) => Promise<void>): Promise<number> {
  const { db, clock, ring } = context;
  const actor = systemActor('rotate-keys');
  const count = await withTransaction(db, async (tx) => {
    await store.lockKeys(tx);
    await fence(tx);
    const now = clock.now();
    const { actions } = planRotation({ now, keys: await store.listKeys(tx) });
    await applyPlan(context, tx, { actions, now, actor });
    return actions.length + (await resealKeys(context, tx));
  });
  await ring.refresh();
  return count;
}

/** What is due, before this replica serves. A key that is not usable stops its algorithm, and no start. */
async function start(context: Context): Promise<void> {
  await doWhatIsDue(context, async () => {});
}

/**
 * What is due, as a job: `fence` throws if another replica has it by now. Answers the number of changes. Throws too,
 * after its commit and in every run, while a published key is not usable.
 */
async function rotateDue(context: Context, fence: (tx: Tx) => Promise<void>): Promise<number> {
  const count = await doWhatIsDue(context, fence);
  const broken = context.ring.broken();
  if (broken.length === 0) return count;
  throw new Error(broken.map(({ error }) => error.message).join('; '), { cause: broken[0]?.error });
}

/** Read anew: whether this replica can sign at all, and the names of the published keys that it cannot use. */
async function status({ ring }: Context): Promise<{ canSign: boolean; broken: string[] }> {
  await ring.refresh();
  return { canSign: ring.canSign(), broken: ring.broken().map(({ kid }) => kid) };
}

/**
 * Rotates the key of one algorithm now; answers every key of it, newest first. Throws `no-published-key` (with
 * `retryAfterSeconds`), `key-not-rotatable`, `not-found`, `invalid-request`. A compromise is committed even where it
 * leaves no key to sign with.
 */
async function rotate(context: Context, act: Act<Person>, rotation: KeyRotation): Promise<store.KeyRecord[]> {
  const { db, clock, ring } = context;
  try {
    return await withTransaction(db, async (tx): Promise<store.KeyRecord[] | Refusal> => {
      await store.lockKeys(tx);
      const now = clock.now();
      const keys = await store.listKeys(tx);
      const { actions, refusal } = planRotation({ now, keys, request: requestOf(rotation) });
      await applyPlan(context, tx, { actions, now, ...byAct(act), reason: rotation.reason });
      return refusal ?? (await listConcerned(tx, rotation));
    });
  } finally {
    // What is committed counts, whatever becomes of this copy: whoever needs the ring next refreshes it again.
    await ring.refresh().catch(() => undefined);
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
 * The JWK Set (RFC 7517 section 5), read each time, so that a compromised key is out of it at once. A key that is not
 * readable is left out; the ring reports it.
 */
async function jwks({ db }: KeysDeps): Promise<{ keys: PublicJwk[] }> {
  const stored = await store.listPublicJwks(db);
  return { keys: stored.flatMap((jwk) => publicPart(jwk) ?? []) };
}

/** Built anew from the public members: whatever else a row may hold does not get out. */
function publicPart(jwk: PublicJwk): PublicJwk | undefined {
  try {
    return exportPublicJwk({ ...jwk, key: importPublicJwk(jwk) });
  } catch {
    return undefined;
  }
}
