import { discoveryUrl, type JwkSet, keySetProblem, keyUrlProblem } from '../outbound/key-source.ts';
import { type Conditions, conditionsProblem } from './conditions.ts';

/** An external issuer whose tokens authenticate agents: a cluster, a CI system, a cloud, a SPIFFE trust domain. */
export interface TrustedIssuer {
  /** The id (`tis_...`). */
  id: string;
  name: string;
  /** The exact `iss` of its tokens. For a SPIFFE trust domain whose tokens have no `iss`: `spiffe://` and its name. */
  issuer: string;
  /** The sole `aud` of its tokens. */
  audience: string;
  /** Its keys. Without `jwks` and `jwksUri`, they are found by discovery (OpenID Connect Discovery section 4). */
  jwks: JwkSet | null;
  jwksUri: string | null;
  /** The conditions that every token of the issuer must meet. */
  claims: Conditions;
  /** The names of claims that name the tenant, in addition to the built-in ones. */
  tenantClaims: string[];
  /** Whether agents may act for its subjects (RFC 8693), in addition to subjects that are agents. */
  subjectTokens: boolean;
  /** A number that is raised when the conditions for its subject tokens change, or when they are no longer accepted. */
  epoch: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
  updatedBy: string;
}

/** The members of a trusted issuer that a caller can set. */
export type TrustedIssuerTerms = Pick<
  TrustedIssuer,
  'name' | 'issuer' | 'audience' | 'jwks' | 'jwksUri' | 'claims' | 'tenantClaims' | 'subjectTokens'
>;

/** An issuer with the version of its row, which changes with every change. */
export type VersionedIssuer = TrustedIssuer & { rowVersion: string };

export interface Surroundings {
  /** The issuer of this server, which cannot be a trusted issuer: our own tokens must not authenticate agents. */
  ownIssuer: string;
  /** Whether the broker may request this URL. */
  isFetchable: (url: string) => boolean;
}

const spiffeTrustDomain = /^spiffe:\/\/[a-z0-9._-]{1,255}$/;

/** Describes what is wrong with the terms of an issuer; undefined if they are valid. */
export function termsProblem(terms: TrustedIssuerTerms, surroundings: Surroundings): string | undefined {
  return (
    issuerProblem(terms, surroundings) ?? keysProblem(terms, surroundings) ?? conditionsProblem(terms.claims)
  );
}

function issuerProblem({ issuer }: TrustedIssuerTerms, { ownIssuer }: Surroundings): string | undefined {
  if (issuer === ownIssuer) return 'issuer must not be this server';
  if (spiffeTrustDomain.test(issuer)) return undefined;
  const url = /^https:\/\/[^\s\\]+$/.test(issuer) && URL.canParse(issuer) ? new URL(issuer) : undefined;
  const isPlain =
    url?.protocol === 'https:' && url.username === '' && url.password === '' && !/[?#]/.test(issuer);
  return isPlain
    ? undefined
    : 'issuer must be an https URL without query or fragment, or spiffe://TRUST-DOMAIN';
}

function keysProblem(
  { issuer, jwks, jwksUri }: TrustedIssuerTerms,
  { isFetchable }: Surroundings,
): string | undefined {
  if (jwks !== null && jwksUri !== null) return 'jwks and jwks_uri cannot be used together';
  if (jwks !== null) return keySetProblem(jwks);
  if (jwksUri !== null) return keyUrlProblem(jwksUri, isFetchable);
  if (issuer.startsWith('spiffe:')) return 'a SPIFFE trust domain has no discovery: give jwks or jwks_uri';
  return isFetchable(discoveryUrl(issuer))
    ? undefined
    : 'issuer is not at an address that the broker may call: give jwks';
}
