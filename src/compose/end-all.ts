import { revokeEveryKey } from '../admins/keys/store.ts';
import { raiseEveryEpoch } from '../agents/store.ts';
import type { Audit } from '../audit/audit.ts';
import { systemActor } from '../audit/audit-event.ts';
import { revokeEverySecret } from '../client-secrets/store.ts';
import type { Db } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Clock } from '../platform/clock.ts';
import { distrustEverySubject } from '../trusted-issuers/store.ts';

export interface EndAllDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
}

/**
 * What to end. `grants`: every grant, request and token; agents keep their credentials and can request again.
 * `credentials`: in addition every client secret, key set and identity of agents and resource servers, every key of
 * a person, and the trust in subject token issuers, so that nobody has access until an operator grants it again.
 */
export type Extent = 'grants' | 'credentials';

/** How many of each were ended. */
export interface EndedAll {
  agents: number;
  /** Client credentials: secrets, key sets, identities. */
  clientSecrets: number;
  adminKeys: number;
  /** Trusted subject token issuers. */
  subjectIssuers: number;
}

/**
 * Ends everything that is open, permanently, in one transaction and with one event. For an operator who restored an
 * older database, in which credentials and grants that were revoked since are active again, or who does not know what
 * an intruder has. Raises epochs instead of updating grants; the job `expire-grants` writes the grants as ended.
 */
export async function endAll({ db, audit, clock }: EndAllDeps, extent: Extent): Promise<EndedAll> {
  return withTransaction(db, async (tx) => {
    const at = clock.now();
    const agents = await raiseEveryEpoch(tx, at);
    const actor = systemActor('cli');
    const both = extent === 'credentials';
    const clientSecrets = both ? await revokeEverySecret(tx, at) : 0;
    const adminKeys = both ? await revokeEveryKey(tx, at) : 0;
    const subjectIssuers = both ? await distrustEverySubject(tx, { at, by: actor.id }) : 0;
    const counts = { client_secrets: clientSecrets, admin_keys: adminKeys, subject_issuers: subjectIssuers };
    const details = { agents, ...counts };
    await audit.append(tx, { type: 'all.ended', actor, details });
    return { agents, clientSecrets, adminKeys, subjectIssuers };
  });
}
