import { type Refusal, refuse } from '../../errors.ts';
import { parseKeySet } from '../../outbound/key-set.ts';
import { OutboundFailure } from '../../outbound/outbound-failure.ts';
import type { ClientAuthMethod } from '../agent.ts';

/** A JWK Set (RFC 7517 section 5). */
export interface JwkSet {
  keys: Jwk[];
}

/** A key as it was given (RFC 7517 section 4). */
export type Jwk = { kty: string } & { [member: string]: unknown };

/** Where the keys of an agent are: here, or where it publishes them (RFC 7591 section 2). */
export type KeySource = { jwks: JwkSet; jwksUri?: undefined } | { jwks?: undefined; jwksUri: string };

/** Keys as they are stored: replaced, never changed. */
export type StoredKeys = KeySource & { id: string };

/** What somebody says of an agent's keys. */
export interface KeyTerms {
  jwks?: JwkSet | undefined;
  jwksUri?: string | undefined;
}

export interface KeyChange {
  /** The method that the agent has; undefined: it is new. */
  from?: ClientAuthMethod;
  to: ClientAuthMethod;
  terms: KeyTerms & { legacyAudience?: boolean | undefined };
}

const byKeys = (method: ClientAuthMethod | undefined): boolean => method === 'private_key_jwt';

/**
 * The keys that take the place of what an agent proves itself by; undefined: that stays as it is. Refusals:
 * `invalid-request` where keys and method do not go together, `conflict` for an agent with keys that is to get secrets.
 */
export function planKeys({ from, to, terms }: KeyChange): KeySource | undefined | Refusal {
  const { jwks, jwksUri, legacyAudience = false } = terms;
  const invalid = (detail: string): Refusal => refuse('invalid-request', { detail });
  if (!byKeys(to)) {
    if (byKeys(from))
      return refuse('conflict', { detail: 'an agent with keys does not go back to a secret' });
    const misplaced = jwks !== undefined || jwksUri !== undefined || legacyAudience;
    return misplaced ? invalid('jwks, jwks_uri and legacy_audience go with private_key_jwt') : undefined;
  }
  if (jwks !== undefined && jwksUri !== undefined) return invalid('jwks and jwks_uri exclude each other');
  if (jwks !== undefined) return { jwks };
  if (jwksUri !== undefined) return { jwksUri };
  return byKeys(from) ? undefined : invalid('private_key_jwt needs jwks or jwks_uri');
}

/**
 * Says what is wrong with a source of keys; undefined if nothing is. Every key that is given here must be of use: who
 * registers one that is not would find out only when the agent is refused. `isFetchable`: whether we would call this URL.
 */
export function checkKeySource(
  { jwks, jwksUri }: KeySource,
  isFetchable: (url: string) => boolean,
): string | undefined {
  if (jwksUri !== undefined) {
    return isFetchable(jwksUri)
      ? undefined
      : 'jwks_uri must be an https URL at an address that may be called';
  }
  try {
    const usable = parseKeySet(jwks);
    if (usable.length > 0 && usable.length === jwks.keys.length) return undefined;
    return 'every key in jwks must be a public signature key: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519';
  } catch (error) {
    if (!(error instanceof OutboundFailure)) throw error;
    return 'jwks must hold public keys alone, 100 at most';
  }
}
