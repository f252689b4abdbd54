import { calculateJwkThumbprint, type JWK } from 'jose';
import { byAct } from '../../audit/audit-event.ts';
import type { Audit } from '../../audit/store.ts';
import type { Act, Person } from '../../caller.ts';
import { revokeAllSecrets } from '../../client-secrets/store.ts';
import type { Tx } from '../../db/database.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import type { KeySource } from './key-source.ts';
import * as store from './store.ts';

export interface AgentKeysDeps {
  audit: Audit;
  clock: Clock;
  ids: Ids;
}

/**
 * Makes these keys the only thing that the agent proves itself by, and records it: what it had before, secrets or other
 * keys, is revoked, and the tokens that were got with it end. The caller holds the agent's row FOR UPDATE in `tx`, and has
 * checked the keys.
 */
export async function setKeys(
  { audit, clock, ids }: AgentKeysDeps,
  tx: Tx,
  { act, agentId, source }: { act: Act<Person>; agentId: string; source: KeySource },
): Promise<void> {
  const at = clock.now();
  const revoked = await revokeAllSecrets(tx, { kind: 'agent', id: agentId }, at);
  const id = ids.next('keySet');
  await store.insertKeys(tx, agentId, { id, source, issuedBy: act.caller.id, createdAt: at });
  const details = { client_id: agentId, ...(await describe(source)), revoked };
  await audit.append(tx, { ...byAct(act), type: 'agent_keys.set', agentId, objectId: id, details });
}

/** Keys as the record names them: by their thumbprints (RFC 7638). */
async function describe({ jwks, jwksUri }: KeySource): Promise<object> {
  if (jwks === undefined) return { jwks_uri: jwksUri };
  return { thumbprints: await Promise.all(jwks.keys.map((key) => calculateJwkThumbprint(key as JWK))) };
}
