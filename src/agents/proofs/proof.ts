import { type Refusal, refuse } from '../../errors.ts';
import { type JwkSet, keySetProblem, keyUrlProblem } from '../../outbound/key-source.ts';
import { type Conditions, conditionsProblem } from '../../trusted-issuers/conditions.ts';
import type { ClientAuthMethod } from '../agent.ts';

/** Who an agent is to a trusted issuer. */
export interface Identity {
  /** `tis_...` */
  trustedIssuerId: string;
  /** The `sub` of its tokens, exactly. */
  subject: string;
  /** Further claims that its tokens must have, exactly: by name, or by JSON Pointer (RFC 6901). */
  claims: Conditions;
}

/**
 * What an agent without a secret proves itself by: its keys, here or where it publishes them (RFC 7591 section 2), or what
 * an issuer that is trusted says of it.
 */
export type Proof =
  | { jwks: JwkSet; jwksUri?: undefined; identity?: undefined }
  | { jwks?: undefined; jwksUri: string; identity?: undefined }
  | { jwks?: undefined; jwksUri?: undefined; identity: Identity };

/** What somebody says of how an agent proves itself. */
export interface ProofTerms {
  jwks?: JwkSet | undefined;
  jwksUri?: string | undefined;
  identity?: Identity | undefined;
}

export interface ProofChange {
  /** The method that the agent has; undefined: it is new. */
  from?: ClientAuthMethod;
  to: ClientAuthMethod;
  terms: ProofTerms & { legacyAudience?: boolean | undefined };
}

/** Of each method without a secret: what goes with it. */
const placesOf: Partial<Record<ClientAuthMethod, readonly (keyof ProofTerms)[]>> = {
  private_key_jwt: ['jwks', 'jwksUri'],
  federated_jwt: ['identity'],
};
const contractNames = { jwks: 'jwks', jwksUri: 'jwks_uri', identity: 'identity' } as const;
const naming = (places: readonly (keyof ProofTerms)[]): string =>
  places.map((place) => contractNames[place]).join(' or ');

/** Whether agents with this method have client secrets. */
export function hasSecrets(method: ClientAuthMethod): boolean {
  return placesOf[method] === undefined;
}

/**
 * What takes the place of what an agent proves itself by; undefined: that stays as it is. Refusals: `invalid-request` where
 * terms and method do not go together, `conflict` for an agent without a secret that is to get one.
 */
export function planProof({ from, to, terms }: ProofChange): Proof | undefined | Refusal {
  const invalid = (detail: string): Refusal => refuse('invalid-request', { detail });
  const places = placesOf[to] ?? [];
  const given = (['jwks', 'jwksUri', 'identity'] as const).filter((place) => terms[place] !== undefined);
  if (places.length === 0 && from !== undefined && !hasSecrets(from)) {
    return refuse('conflict', { detail: 'an agent without a secret does not go back to one' });
  }
  const misplaced = given.find((place) => !places.includes(place));
  if (misplaced !== undefined) return invalid(`${contractNames[misplaced]} does not go with ${to}`);
  if (terms.legacyAudience === true && to !== 'private_key_jwt') {
    return invalid(`legacy_audience does not go with ${to}`);
  }
  if (given.length > 1) return invalid('jwks and jwks_uri exclude each other');
  const [place] = given;
  if (place !== undefined) return { [place]: terms[place] } as unknown as Proof;
  return places.length === 0 || from === to ? undefined : invalid(`${to} needs ${naming(places)}`);
}

interface ProofSurroundings {
  /** Whether we would call this URL. */
  isFetchable: (url: string) => boolean;
  /** Of an identity: the `iss` that its tokens will have. */
  issuer?: string | undefined;
}

/** Says what is wrong with a proof; undefined if nothing is. */
export function checkProof(
  proof: Proof,
  { isFetchable, issuer = '' }: ProofSurroundings,
): string | undefined {
  if (proof.identity !== undefined) return identityProblem(proof.identity, issuer);
  if (proof.jwks !== undefined) return keySetProblem(proof.jwks);
  return keyUrlProblem(proof.jwksUri, isFetchable);
}

/** A token whose issuer is its subject is the client's own assertion, and a SPIFFE ID is of its trust domain. */
function identityProblem({ subject, claims }: Identity, issuer: string): string | undefined {
  if (subject === issuer) return 'identity.subject must not be the issuer itself';
  if (issuer.startsWith('spiffe:') && !subject.startsWith(`${issuer}/`))
    return 'identity.subject must be a SPIFFE ID of the trust domain';
  return conditionsProblem(claims);
}
