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
import type { UpstreamsService } from './upstreams/service.ts';
import type { NewUpstream, UpstreamTerms } from './upstreams/upstream.ts';

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
  /** Only of kind `http`, which needs both. */
  slug?: string | undefined;
  upstream?: NewUpstream | undefined;
}

/** What an admin changes of a resource. */
export type ResourceUpdate = Omit<ResourceChange, 'connectionId'> & {
  connection?: ConnectionInput | undefined;
  upstream?: UpstreamTerms | undefined;
};

export interface ResourcesDeps extends ClientSecretsDeps {
  db: Db;
  /** The issuer. No resource may have an identifier under it. */
  issuer: string;
  /** The origin of the gateway, if there is one. No resource may have an identifier under it. */
  gatewayUrl: string | undefined;
  /** Whether a key can sign with `alg` now. A resource may choose only an algorithm that has such a key. */
  hasActiveKey: (alg: SigningAlg) => Promise<boolean>;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
  connections: TargetConnections;
  upstreams: Pick<
    UpstreamsService,
    'isSlugFree' | 'termsProblem' | 'insert' | 'change' | 'listCredentials' | 'deleteCredentials'
  >;
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

/** Returns the given terms of an upstream for the audit log, without its secret. */
function describeUpstream({ baseUrl, credential, tls, timeouts }: UpstreamTerms): Record<string, unknown> {
  const { type, name, username } = credential ?? {};
  return {
    base_url: baseUrl,
    credential: credential === undefined ? undefined : { type, name, username },
    tls: tls === undefined ? undefined : { ca: tls.ca },
    timeouts:
      timeouts === undefined
        ? undefined
        : {
            connect_seconds: timeouts.connectSeconds,
            response_seconds: timeouts.responseSeconds,
            idle_seconds: timeouts.idleSeconds,
          },
  };
}

/** Returns the given terms for the audit log, under their names in the contract. Undefined members are not written. */
export function describe(
  terms: ResourceChange & { upstream?: UpstreamTerms | undefined },
): Record<string, unknown> {
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
    upstream: terms.upstream === undefined ? undefined : describeUpstream(terms.upstream),
  };
}

export function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}
