import { discoveryUrl, type JwkSet, keySetProblem, keyUrlProblem } from '../outbound/key-source.ts';
import { type Conditions, conditionsProblem } from './conditions.ts';

/** Somebody else whose tokens say who an agent is: a cluster, a CI system, a cloud, a SPIFFE trust domain. */
export interface TrustedIssuer {
  /** `tis_...` */
  id: string;
  name: string;
  /** The `iss` of its tokens, exactly; of a SPIFFE trust domain whose tokens have none, `spiffe://` and its name. */
  issuer: string;
  /** The sole `aud` of its tokens. */
  audience: string;
  /** Its keys. With neither this nor `jwksUri` they are found by discovery (OpenID Connect Discovery section 4). */
  jwks: JwkSet | null;
  jwksUri: string | null;
  /** What every token of it must have. */
  claims: Conditions;
  /** Claims that name the tenant, beside those that are known of CI platforms. */
  tenantClaims: string[];
  /** Whether agents may act for its subjects (RFC 8693), beside those that are agents themselves. */
  subjectTokens: boolean;
  /** Raised when its subject tokens are accepted on other terms, or no longer. */
  epoch: number;
  createdAt: Date;
  createdBy: string;
  updatedAt: Date;
  updatedBy: string;
}

/** What somebody says of an issuer. */
export type TrustedIssuerTerms = Pick<
  TrustedIssuer,
  'name' | 'issuer' | 'audience' | 'jwks' | 'jwksUri' | 'claims' | 'tenantClaims' | 'subjectTokens'
>;

/** An issuer with the version of its row, which every change makes another one. */
export type VersionedIssuer = TrustedIssuer & { rowVersion: string };

export interface Surroundings {
  /** Ours: nobody is an agent because of a token that we issued. */
  ownIssuer: string;
  /** Whether we would call this URL. */
  isFetchable: (url: string) => boolean;
}

const spiffeTrustDomain = /^spiffe:\/\/[a-z0-9._-]{1,255}$/;

/** Says what is wrong with the terms of an issuer; undefined if nothing is. */
export function termsProblem(terms: TrustedIssuerTerms, surroundings: Surroundings): string | undefined {
  return (
    issuerProblem(terms, surroundings) ?? keysProblem(terms, surroundings) ?? conditionsProblem(terms.claims)
  );
}

function issuerProblem({ issuer }: TrustedIssuerTerms, { ownIssuer }: Surroundings): string | undefined {
  if (issuer === ownIssuer) return 'issuer must be somebody else';
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
  if (jwks !== null && jwksUri !== null) return 'jwks and jwks_uri exclude each other';
  if (jwks !== null) return keySetProblem(jwks);
  if (jwksUri !== null) return keyUrlProblem(jwksUri, isFetchable);
  if (issuer.startsWith('spiffe:')) return 'a SPIFFE trust domain has no discovery: give jwks or jwks_uri';
  return isFetchable(discoveryUrl(issuer))
    ? undefined
    : 'issuer is at no address that may be called: give jwks';
}
