import { byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import { endsLater } from '../client-secrets/client-secret.ts';
import type { Tx } from '../db/database.ts';
import { Refusal, refuse } from '../errors.ts';
import { byCodeUnit } from '../platform/canonical-json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Agent } from './agent.ts';
import {
  type CredentialTerms,
  checkCredential,
  type Identity,
  type IdentityIssuer,
  planCredential,
} from './credentials/credential.ts';
import type { CheckedCredential } from './credentials/service.ts';
import * as store from './store.ts';

/** The terms of a new agent. It never expires if `expiresAt` is null. */
export type NewAgent = store.AgentTerms & CredentialTerms;
export type AgentChange = store.AgentChange & CredentialTerms;

export interface CheckTermsDeps {
  clock: Clock;
  isFetchable: (url: string) => boolean;
  trustedIssuers: {
    /** Finds a trusted issuer and locks it against changes until the transaction ends. */
    lockTrust: (tx: Tx, id: string) => Promise<IdentityIssuer | undefined>;
  };
}

/**
 * Checks the terms of an agent: its owner, its expiry and its credential. Returns the credential to set, or undefined. The
 * owner and the trusted issuers of identities cannot change until the transaction ends. Refusals: `invalid-request`,
 * `conflict`.
 */
export async function checkTerms(
  { clock, isFetchable, trustedIssuers }: CheckTermsDeps,
  tx: Tx,
  { change, before }: { change: AgentChange; before: Agent | undefined },
): Promise<CheckedCredential | undefined | Refusal> {
  const { owner, expiresAt, authMethod = before?.authMethod } = change;
  const invalid = (detail: string): Refusal => refuse('invalid-request', { detail });
  if (expiresAt !== undefined && !endsLater(expiresAt, clock.now()))
    return invalid('expires_at must be in the future');
  if (owner !== undefined && !(await store.lockOwner(tx, owner)))
    return invalid('owner is not the id of a person');
  if (authMethod === undefined) return undefined;
  const from = before === undefined ? {} : { from: before.authMethod };
  const credential = planCredential({ ...from, to: authMethod, terms: change });
  if (credential === undefined || credential instanceof Refusal) return credential;
  const issuers = await lockIssuers(trustedIssuers, tx, credential.identities ?? []);
  const problem = checkCredential(credential, { isFetchable, issuers });
  return problem === undefined ? { credential, issuers } : invalid(problem);
}

/** Locks the trusted issuers of identities, in the order of their ids. Leaves out those that are not trusted. */
async function lockIssuers(
  trustedIssuers: CheckTermsDeps['trustedIssuers'],
  tx: Tx,
  identities: readonly Identity[],
): Promise<ReadonlyMap<string, IdentityIssuer>> {
  const issuers = new Map<string, IdentityIssuer>();
  const ids = new Set(identities.map(({ trustedIssuerId }) => trustedIssuerId));
  for (const id of [...ids].sort(byCodeUnit)) {
    const issuer = await trustedIssuers.lockTrust(tx, id);
    if (issuer !== undefined) issuers.set(id, issuer);
  }
  return issuers;
}

/** Removes duplicate labels. Resets `legacyAudience` if the new method does not have it. */
export function normalized(change: AgentChange): AgentChange {
  const { labels, authMethod } = change;
  const left = authMethod !== undefined && authMethod !== 'private_key_jwt';
  return {
    ...change,
    ...(labels === undefined ? {} : { labels: asSet(labels) }),
    ...(left ? { legacyAudience: false } : {}),
  };
}

export function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}

export function subject(act: Act<Person>, agentId: string) {
  return { ...byAct(act), agentId, objectId: agentId };
}

/** Returns the terms under their names in the contract, for audit events. Undefined members are not written. */
export function describe(terms: store.AgentChange): Record<string, unknown> {
  return {
    name: terms.name,
    owner: terms.owner,
    environment: terms.environment,
    token_endpoint_auth_method: terms.authMethod,
    legacy_audience: terms.legacyAudience,
    require_bound_tokens: terms.requireBoundTokens,
    grants_on_demand: terms.grantsOnDemand,
    labels: terms.labels,
    expires_at: terms.expiresAt,
  };
}
