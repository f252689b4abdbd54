import type { Audit } from '../audit/audit.ts';
import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import { hashSecret } from '../crypto/hash.ts';
import type { Tx } from '../db/database.ts';
import { type Refusal, refuse } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import { generateSecret, type Random } from '../platform/random.ts';
import { type Client, endsLater, maxValidSecrets, secretPrefixes } from './client-secret.ts';
import * as store from './store.ts';

export { listSecrets, revokeAllSecrets } from './store.ts';

export interface ClientSecretsDeps {
  audit: Audit;
  clock: Clock;
  random: Random;
  ids: Ids;
}

export interface IssuedSecret {
  id: string;
  /** The secret text, which is returned only once. */
  clientSecret: string;
  expiresAt: Date | null;
}

/**
 * Generates a client secret, stores its digest and appends an audit event. The caller has locked the client's row FOR
 * UPDATE in `tx`, or has just inserted it, so that concurrent calls cannot exceed the maximum. Refusals:
 * `invalid-request` (the expiry is in the past), `too-many-secrets`.
 */
export async function issueSecret(
  { audit, clock, random, ids }: ClientSecretsDeps,
  tx: Tx,
  { act, client, expiresAt }: { act: Act<Person>; client: Client; expiresAt: Date | null },
): Promise<IssuedSecret | Refusal> {
  const now = clock.now();
  if (!endsLater(expiresAt, now)) {
    return refuse('invalid-request', { detail: 'expires_at must be in the future' });
  }
  if ((await store.countValidSecrets(tx, client, now)) >= maxValidSecrets) return refuse('too-many-secrets');
  const id = ids.next('clientSecret');
  const clientSecret = generateSecret(random, secretPrefixes[client.kind]);
  const secretHash = hashSecret(clientSecret);
  const issuedBy = act.caller.id;
  await store.insertSecret(tx, client, { id, secretHash, issuedBy, createdAt: now, expiresAt });
  const details = { client_id: client.id, expires_at: expiresAt };
  await audit.append(tx, { ...subject(act, client, id), type: 'client_secret.created', details });
  return { id, clientSecret, expiresAt };
}

export interface SecretRevocation {
  act: Act<Person>;
  client: Client;
  secretId: string;
  at: Date;
}

/**
 * Revokes a client secret and appends an audit event. Returns `already`, and changes nothing, if the secret was revoked
 * before. The caller has locked the client's row FOR UPDATE in `tx`. Refusal: `not-found` (the client has no such secret).
 */
export async function revokeSecret(
  { audit }: Pick<ClientSecretsDeps, 'audit'>,
  tx: Tx,
  { act, client, secretId, at }: SecretRevocation,
): Promise<'revoked' | 'already' | Refusal> {
  const outcome = await store.revokeSecret(tx, client, { id: secretId, at });
  if (outcome === 'unknown') return refuse('not-found');
  if (outcome === 'already') return outcome;
  const details = { client_id: client.id };
  await audit.append(tx, { ...subject(act, client, secretId), type: 'client_secret.revoked', details });
  return 'revoked';
}

function subject(act: Act<Person>, client: Client, secretId: string) {
  return { ...byAct(act), agentId: client.kind === 'agent' ? client.id : null, objectId: secretId };
}
