import { revokeEveryKey } from '../admins/keys/store.ts';
import { systemActor } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import { revokeEverySecret } from '../client-secrets/store.ts';
import type { Db } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { Clock } from '../platform/clock.ts';
import { distrustEverySubject } from '../trusted-issuers/store.ts';
import { raiseEveryEpoch } from './store.ts';

export interface EndAllDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
}

/**
 * What is ended. `grants`: every grant, request and token; agents keep their secrets and ask again. `credentials`: with
 * them every client secret, key set and identity of agents and resource servers, every key of a person, and the trust in
 * what issuers say of people, so that nobody has access until somebody gives it anew.
 */
export type Extent = 'grants' | 'credentials';

/** How many of each were ended. */
export interface EndedAll {
  agents: number;
  /** Whatever clients prove themselves by: secrets, key sets, identities. */
  clientSecrets: number;
  adminKeys: number;
  /** Issuers that were trusted to speak of people. */
  subjectIssuers: number;
}

/**
 * Ends everything that is open, for ever, in one transaction and with one event: for an operator who restored an older
 * database, in which what was revoked since is alive again, or who cannot tell what an intruder has. Raising epochs ends
 * what was issued without walking it; the job `expire-grants` writes the endings down.
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
