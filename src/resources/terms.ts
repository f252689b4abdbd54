import { type DetailsType, typesProblem } from '../authorization-details/details-type.ts';
import type { ClientSecretsDeps } from '../client-secrets/service.ts';
import type { SigningAlg } from '../crypto/algorithms.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { ConnectionInput } from './connections/connection.ts';
import type { TargetConnections } from './prepare-target.ts';
import { findDuplicateScope, type ResourceKind, type Scope } from './resource.ts';
import type { ResourceChange } from './store/write.ts';

export interface NewResource {
  identifier: string;
  name: string;
  kind: ResourceKind;
  scopes: Scope[];
  maxGrantSeconds: number;
  labels?: string[] | undefined;
  tokenTtlSeconds?: number | undefined;
  tokenAlg?: SigningAlg | undefined;
  requireBoundTokens?: boolean | undefined;
  authorizationDetailsTypes?: DetailsType[] | undefined;
  connection?: ConnectionInput | undefined;
}

/** What an admin changes of a resource. */
export type ResourceUpdate = Omit<ResourceChange, 'connectionId'> & {
  connection?: ConnectionInput | undefined;
};

export interface ResourcesDeps extends ClientSecretsDeps {
  db: Db;
  /** The issuer. No resource may have an identifier under it. */
  issuer: string;
  /** Whether a key can sign with `alg` now. A resource may choose only an algorithm that has such a key. */
  hasActiveKey: (alg: SigningAlg) => Promise<boolean>;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
  connections: TargetConnections;
}

/**
 * Throws `invalid-request` for duplicate scopes or invalid types of authorization details, and `conflict` for an
 * algorithm without an active key.
 */
export async function assertTerms(
  deps: ResourcesDeps,
  { scopes, tokenAlg, authorizationDetailsTypes }: ResourceChange,
): Promise<void> {
  const duplicate = scopes === undefined ? undefined : findDuplicateScope(scopes);
  if (duplicate !== undefined) {
    throw new BrokerError('invalid-request', { detail: `scope ${duplicate} is given twice` });
  }
  const problem = typesProblem(authorizationDetailsTypes ?? []);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  if (tokenAlg !== undefined && !(await deps.hasActiveKey(tokenAlg))) {
    throw new BrokerError('conflict', { detail: `no key can sign with ${tokenAlg} now` });
  }
}

/** Returns the given terms for the audit log, under their names in the contract. Undefined members are not written. */
export function describe(terms: ResourceChange): Record<string, unknown> {
  return {
    name: terms.name,
    labels: terms.labels,
    scopes: terms.scopes?.map(({ name, risk, mapping }) => ({ name, risk, ...mapping })),
    max_grant_seconds: terms.maxGrantSeconds,
    token_ttl_seconds: terms.tokenTtlSeconds,
    token_alg: terms.tokenAlg,
    require_bound_tokens: terms.requireBoundTokens,
    authorization_details_types: terms.authorizationDetailsTypes?.map(({ type }) => type),
    connection_id: terms.connectionId,
  };
}

export function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}
