import type { Audit } from '../../audit/audit.ts';
import { byAct } from '../../audit/audit-event.ts';
import type { Act, Person } from '../../caller.ts';
import { type Envelope, EnvelopeError, type Place } from '../../crypto/envelope.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { BrokerError, type Refusal, refuse } from '../../errors.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import { lockResource } from '../store/read.ts';
import * as store from './store.ts';
import { secretProblem, type UpstreamCredentialView } from './upstream.ts';

export interface CredentialsDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  envelope: Envelope;
}

/** How many credentials an upstream has at most: the one in use, and the next one. */
const maxCredentials = 2;

const secretPlace = (id: string): Place => ({
  table: 'upstream_credentials',
  column: 'secret_sealed',
  row: id,
});

/** Decrypts a secret. Throws `EnvelopeError`. */
export function openSecret(envelope: Envelope, { id, secret }: { id: string; secret: Buffer }): string {
  return envelope.open(secret, secretPlace(id)).toString('utf8');
}

export interface NewSecret {
  act: Act<Person>;
  resourceId: string;
  secret: string;
  activatesAt: Date;
}

/** Seals and stores a secret, with its audit event. The resource is locked in `tx`, or was inserted in it. */
export async function storeSecret(
  { audit, clock, ids, envelope }: CredentialsDeps,
  tx: Tx,
  { act, resourceId, secret, activatesAt }: NewSecret,
): Promise<UpstreamCredentialView> {
  const id = ids.next('upstreamCredential');
  const view = { id, createdAt: clock.now(), createdBy: act.caller.id, activatesAt };
  const secretSealed = envelope.seal(Buffer.from(secret, 'utf8'), secretPlace(id));
  await store.insertCredential(tx, { ...view, resourceId, secretSealed });
  const details = { resource_id: resourceId, activates_at: activatesAt };
  await audit.append(tx, { ...byAct(act), type: 'upstream_credential.added', objectId: id, details });
  return view;
}

/** Deletes all secrets of a resource, with an audit event for each. */
export async function removeCredentials(
  { audit }: Pick<CredentialsDeps, 'audit'>,
  tx: Tx,
  { act, resourceId }: { act: Act<Person>; resourceId: string },
): Promise<void> {
  for (const id of await store.deleteCredentials(tx, resourceId)) {
    await audit.append(tx, removal(act, { id, resourceId }));
  }
}

function removal(act: Act<Person>, { id, resourceId }: { id: string; resourceId: string }) {
  const details = { resource_id: resourceId };
  return { ...byAct(act), type: 'upstream_credential.removed' as const, objectId: id, details };
}

export interface CredentialRequest {
  resourceId: string;
  secret: string;
  /** From when on it is used; undefined for now. */
  activatesAt: Date | undefined;
}

/**
 * Adds a credential that is used from `activatesAt` on. Throws `invalid-request`, `not-found` if the resource has no
 * upstream, and `conflict` if it has two credentials.
 */
export async function addCredential(
  deps: CredentialsDeps,
  act: Act<Person>,
  { resourceId, secret, activatesAt }: CredentialRequest,
): Promise<UpstreamCredentialView> {
  const problem = secretProblem(secret);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  return withTransaction(deps.db, async (tx) => {
    const refused = await lockUpstream(tx, resourceId);
    if (refused !== undefined) return refused;
    const now = deps.clock.now();
    const from = activatesAt ?? now;
    if (from < now) return refuse('invalid-request', { detail: 'activates_at must not be in the past' });
    if ((await store.listCredentials(tx, resourceId)).length >= maxCredentials) {
      return refuse('conflict', { detail: 'the upstream has two credentials: remove one first' });
    }
    return storeSecret(deps, tx, { act, resourceId, secret, activatesAt: from });
  });
}

/** Removes a credential. Throws `not-found`, and `conflict` if no other credential is activated. */
export async function removeCredential(
  deps: CredentialsDeps,
  act: Act<Person>,
  { resourceId, credentialId }: { resourceId: string; credentialId: string },
): Promise<void> {
  await withTransaction(deps.db, async (tx) => {
    const refused = await lockUpstream(tx, resourceId);
    if (refused !== undefined) return refused;
    const credentials = await store.listCredentials(tx, resourceId);
    if (!credentials.some(({ id }) => id === credentialId)) return refuse('not-found');
    const [other] = credentials.filter(({ id }) => id !== credentialId);
    if (other === undefined) {
      return refuse('conflict', { detail: 'the last credential cannot be removed: add another one first' });
    }
    if (other.activatesAt > deps.clock.now()) {
      const detail = `the other credential is used from ${other.activatesAt.toISOString()} on: until then this one is needed`;
      return refuse('conflict', { detail });
    }
    await store.deleteCredential(tx, credentialId);
    await deps.audit.append(tx, removal(act, { id: credentialId, resourceId }));
    return undefined;
  });
}

/** Locks a resource. Returns a refusal if it has no upstream, or one without authentication. */
async function lockUpstream(tx: Tx, resourceId: string): Promise<Refusal | undefined> {
  const resource = await lockResource(tx, resourceId);
  if (resource === undefined || resource.upstream === null) return refuse('not-found');
  return resource.upstream.credential.type === 'none'
    ? refuse('invalid-request', {
        detail: 'the credential of the upstream is of type none, which has no secret',
      })
    : undefined;
}

/** Encrypts again each secret that is encrypted with an old master key. Returns how many. */
export async function resealSecrets(tx: Tx, envelope: Envelope): Promise<number> {
  let resealed = 0;
  for (const found of await store.listSealedSecrets(tx)) {
    if (envelope.isCurrent(found.sealed)) continue;
    const place = secretPlace(found.id);
    try {
      const to = envelope.seal(envelope.open(found.sealed, place), place);
      resealed += await store.replaceSealedSecret(tx, found, to);
    } catch (error) {
      // Nothing can be done here about a secret that cannot be decrypted. Each call that needs it fails with this error.
      if (!(error instanceof EnvelopeError)) throw error;
    }
  }
  return resealed;
}
