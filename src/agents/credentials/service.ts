import type { Audit } from '../../audit/audit.ts';
import { byAct } from '../../audit/audit-event.ts';
import type { Act, Person } from '../../caller.ts';
import type { Tx } from '../../db/database.ts';
import { violates } from '../../db/sqlstate.ts';
import { BrokerError } from '../../errors.ts';
import { thumbprintsOf } from '../../outbound/key-source.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import type { AgentCredential, IdentityIssuer } from './credential.ts';
import { rowKey, toRows } from './credential.ts';
import * as store from './store.ts';

export interface AgentCredentialsDeps {
  audit: Audit;
  clock: Clock;
  ids: Ids;
}

export interface CheckedCredential {
  credential: AgentCredential;
  /** The trusted issuers of its identities, by id. */
  issuers: ReadonlyMap<string, IdentityIssuer>;
}

/**
 * Replaces the credentials of the agent by this one, and appends an audit event. Keys and identities that the agent already
 * had stay valid, with the tokens that were issued for them. Its other credentials, including client secrets, are revoked.
 * Returns whether a credential was revoked. The caller has locked the agent's row FOR UPDATE in `tx` and has checked the
 * credential. Throws `conflict` for an identity of another agent.
 */
export async function setCredential(
  { audit, clock, ids }: AgentCredentialsDeps,
  tx: Tx,
  { act, agentId, checked }: { act: Act<Person>; agentId: string; checked: CheckedCredential },
): Promise<boolean> {
  const at = clock.now();
  const rows = toRows(checked.credential, checked.issuers);
  const wanted = new Set(rows.map(rowKey));
  const live = await store.listRows(tx, agentId);
  const kept = live.filter(({ row }) => row !== undefined && toKeys(row).every((key) => wanted.has(key)));
  const keptKeys = new Set(kept.flatMap(({ row }) => (row === undefined ? [] : toKeys(row))));
  const added = rows
    .filter((row) => !keptKeys.has(rowKey(row)))
    .map((row) => ({ id: ids.next('credential'), row }));
  const keptIds = kept.map(({ id }) => id);
  const revoked = await store.revokeOthers(tx, { agentId, keep: keptIds, at });
  try {
    await store.insertRows(tx, agentId, { rows: added, issuedBy: act.caller.id, createdAt: at });
  } catch (error) {
    if (!violates(error, 'agent_secrets_one_identity')) throw error;
    throw new BrokerError('conflict', { detail: 'another agent has this identity' });
  }
  if (added.length === 0 && revoked.length === 0) return false;
  const details = { client_id: agentId, ...(await describe(checked.credential)), kept: keptIds, revoked };
  await audit.append(tx, {
    ...byAct(act),
    type: 'agent_credential.set',
    agentId,
    objectId: added[0]?.id ?? keptIds[0] ?? null,
    details,
  });
  return revoked.length > 0;
}

/** Returns the keys of a row. A row that an earlier version wrote may have several JSON Web Keys. */
function toKeys(row: store.StoredRow['row'] & object): string[] {
  return row.jwks === undefined
    ? [rowKey(row)]
    : row.jwks.keys.map((key) => rowKey({ jwks: { keys: [key] } }));
}

/** Describes a credential for its audit event. Keys are named by their thumbprints (RFC 7638). */
async function describe({ jwks, jwksUri, identities }: AgentCredential): Promise<object> {
  if (jwks !== undefined) return { thumbprints: await thumbprintsOf(jwks) };
  if (jwksUri !== undefined) return { jwks_uri: jwksUri };
  return {
    identities: identities.map(({ trustedIssuerId, subject, claims }) => ({
      trusted_issuer_id: trustedIssuerId,
      subject,
      claims,
    })),
  };
}
