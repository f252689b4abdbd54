import { type Refusal, refuse } from '../../errors.ts';
import { type Jwk, type JwkSet, keySetProblem, keyUrlProblem } from '../../outbound/key-source.ts';
import { canonicalJson } from '../../platform/canonical-json.ts';
import { type ClaimTuple, identifyingClaim, tupleProblem } from '../../trusted-issuers/identity.ts';
import type { ClientAuthMethod } from '../agent.ts';

/** The claims that a token of a trusted issuer must have to authenticate an agent, in canonical form. */
export interface Identity extends ClaimTuple {
  /** The id of the trusted issuer (`tis_...`). */
  trustedIssuerId: string;
}

/**
 * How an agent without a client secret authenticates: with its keys, which are registered here or which the agent publishes
 * (RFC 7591 section 2), or with a token of a trusted issuer that matches one of its identities.
 */
export type AgentCredential =
  | { jwks: JwkSet; jwksUri?: undefined; identities?: undefined }
  | { jwks?: undefined; jwksUri: string; identities?: undefined }
  | { jwks?: undefined; jwksUri?: undefined; identities: Identity[] };

/** The members of a request that say how an agent authenticates. */
export interface CredentialTerms {
  jwks?: JwkSet | undefined;
  jwksUri?: string | undefined;
  identities?: Identity[] | undefined;
}

export interface CredentialChange {
  /** The method that the agent has; undefined for a new agent. */
  from?: ClientAuthMethod;
  to: ClientAuthMethod;
  terms: CredentialTerms & { legacyAudience?: boolean | undefined };
}

/** The members of a request for each method without a client secret. Methods that are not listed use a client secret. */
const membersOf: Partial<Record<ClientAuthMethod, readonly (keyof CredentialTerms)[]>> = {
  private_key_jwt: ['jwks', 'jwksUri'],
  federated_jwt: ['identities'],
};
const contractNames = { jwks: 'jwks', jwksUri: 'jwks_uri', identities: 'identity or identities' } as const;
const listNames = (members: readonly (keyof CredentialTerms)[]): string =>
  members.map((member) => contractNames[member]).join(' or ');

/** Whether agents with this method have client secrets. */
export function hasSecrets(method: ClientAuthMethod): boolean {
  return membersOf[method] === undefined;
}

/**
 * Returns the keys or identities that a change gives an agent; undefined if the agent keeps its credential, or if it is new
 * and uses a client secret. Refusals: `invalid-request` if the terms do not fit the method, `conflict` if the change would
 * give a client secret to an agent that has keys or identities.
 */
export function planCredential({ from, to, terms }: CredentialChange): AgentCredential | undefined | Refusal {
  const invalid = (detail: string): Refusal => refuse('invalid-request', { detail });
  const members = membersOf[to] ?? [];
  const given = (['jwks', 'jwksUri', 'identities'] as const).filter((member) => terms[member] !== undefined);
  if (members.length === 0 && from !== undefined && !hasSecrets(from)) {
    return refuse('conflict', { detail: 'an agent without a client secret cannot get one again' });
  }
  const misplaced = given.find((member) => !members.includes(member));
  if (misplaced !== undefined) return invalid(`${contractNames[misplaced]} cannot be used with ${to}`);
  if (terms.legacyAudience === true && to !== 'private_key_jwt') {
    return invalid(`legacy_audience cannot be used with ${to}`);
  }
  if (given.length > 1) return invalid('jwks and jwks_uri cannot be used together');
  const [member] = given;
  if (member !== undefined) return { [member]: terms[member] } as unknown as AgentCredential;
  return members.length === 0 || from === to ? undefined : invalid(`${to} needs ${listNames(members)}`);
}

/** The properties of a trusted issuer on which the identities at this issuer depend. */
export interface IdentityIssuer {
  /** The `iss` of its tokens. */
  issuer: string;
  /** The claims that name the tenant in its tokens, in addition to the built-in ones. */
  tenantClaims: readonly string[];
}

interface CredentialSurroundings {
  /** Whether the broker may fetch keys from this URL. */
  isFetchable: (url: string) => boolean;
  /** The trusted issuers of the identities, by id. */
  issuers: ReadonlyMap<string, IdentityIssuer>;
}

/** Returns what is wrong with a credential; undefined if it is valid. */
export function checkCredential(
  { jwks, jwksUri, identities }: AgentCredential,
  { isFetchable, issuers }: CredentialSurroundings,
): string | undefined {
  if (jwks !== undefined) return keySetProblem(jwks);
  if (jwksUri !== undefined) return keyUrlProblem(jwksUri, isFetchable);
  for (const identity of identities) {
    const issuer = issuers.get(identity.trustedIssuerId);
    if (issuer === undefined) return 'identity.trusted_issuer_id is not the id of a trusted issuer';
    const problem = tupleProblem(identity, issuer);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** A row of `agent_secrets` that has no client secret: one key, the URL of a key set, or one identity. */
export type CredentialRow =
  | { jwks: JwkSet; jwksUri?: undefined; identity?: undefined }
  | { jwks?: undefined; jwksUri: string; identity?: undefined }
  | { jwks?: undefined; jwksUri?: undefined; identity: Identity & { identifyingClaim: string } };

/**
 * Splits a credential into rows, one for each key and each identity, so that a change ends only the tokens that were obtained
 * with the rows that it removes. Repeated keys and identities become one row.
 */
export function toRows(
  { jwks, jwksUri, identities }: AgentCredential,
  issuers: ReadonlyMap<string, IdentityIssuer>,
): CredentialRow[] {
  if (jwksUri !== undefined) return [{ jwksUri }];
  const rows: CredentialRow[] =
    jwks === undefined
      ? identities.map((identity) => toIdentityRow(identity, issuers.get(identity.trustedIssuerId)))
      : jwks.keys.map((key: Jwk) => ({ jwks: { keys: [key] } }));
  return [...new Map(rows.map((row) => [rowKey(row), row])).values()];
}

function toIdentityRow(identity: Identity, issuer: IdentityIssuer | undefined): CredentialRow {
  const claim = identifyingClaim(identity, issuer?.tenantClaims ?? []);
  return { identity: { ...identity, identifyingClaim: claim ?? '' } };
}

/** Returns a text that is equal for two rows exactly if they are the same credential. */
export function rowKey({ jwks, jwksUri, identity }: CredentialRow): string {
  if (identity === undefined) return canonicalJson({ jwks, jwksUri });
  const { trustedIssuerId, subject, claims } = identity;
  return canonicalJson({ trustedIssuerId, subject, claims });
}
