import { byAct } from '../../audit/audit-event.ts';
import type { Audit } from '../../audit/store.ts';
import type { Act, Person } from '../../caller.ts';
import { revokeAllSecrets } from '../../client-secrets/store.ts';
import type { Tx } from '../../db/database.ts';
import { violates } from '../../db/sqlstate.ts';
import { BrokerError } from '../../errors.ts';
import { thumbprintsOf } from '../../outbound/key-source.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import type { Proof } from './proof.ts';
import * as store from './store.ts';

export interface AgentProofsDeps {
  audit: Audit;
  clock: Clock;
  ids: Ids;
}

/**
 * Makes this the only thing that the agent proves itself by, and records it: what it had before, secrets or other proofs,
 * is revoked, and the tokens that were got with it end. The caller holds the agent's row FOR UPDATE in `tx`, and has
 * checked the proof. Throws `conflict` for an identity that another agent has.
 */
export async function setProof(
  { audit, clock, ids }: AgentProofsDeps,
  tx: Tx,
  { act, agentId, proof }: { act: Act<Person>; agentId: string; proof: Proof },
): Promise<void> {
  const at = clock.now();
  const revoked = await revokeAllSecrets(tx, { kind: 'agent', id: agentId }, at);
  const id = ids.next('proof');
  try {
    await store.insertProof(tx, agentId, { id, proof, issuedBy: act.caller.id, createdAt: at });
  } catch (error) {
    if (!violates(error, 'agent_secrets_one_subject')) throw error;
    throw new BrokerError('conflict', { detail: 'another agent has this identity' });
  }
  const details = { client_id: agentId, ...(await describe(proof)), revoked };
  await audit.append(tx, { ...byAct(act), type: 'agent_proof.set', agentId, objectId: id, details });
}

/** A proof as the record names it: keys by their thumbprints (RFC 7638). */
async function describe({ jwks, jwksUri, identity }: Proof): Promise<object> {
  if (jwks !== undefined) return { thumbprints: await thumbprintsOf(jwks) };
  if (jwksUri !== undefined) return { jwks_uri: jwksUri };
  const { trustedIssuerId: trusted_issuer_id, subject, claims } = identity;
  return { identity: { trusted_issuer_id, subject, claims } };
}
