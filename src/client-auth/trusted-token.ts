import type { PublicKey } from '../outbound/key-set.ts';
import type { KeySetPlace, KeySets } from '../outbound/key-sets.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Conditions } from '../trusted-issuers/conditions.ts';
import type { UnverifiedJwt } from './signed-jwt.ts';
import { verifyWorkloadToken, type WorkloadClaims, type WorkloadTokenFailure } from './workload-token.ts';

/** Public keys, or the URL at which their owner publishes them. */
export type Keys = { keys: readonly PublicKey[] } | KeySetPlace;

/** The parts of a trusted issuer on which the verification of its tokens depends. */
export interface KnownIssuer {
  /** The id (`tis_...`). */
  id: string;
  issuer: string;
  audience: string;
  keys: Keys;
  /** The conditions that every token of the issuer must meet. */
  conditions: Conditions;
  /** The names of the claims that name the tenant, in addition to the built-in ones. */
  tenantClaims: readonly string[];
  /** The version of the issuer's row, which distinguishes a cached issuer from a changed one. */
  rowVersion: string;
}

/** `several-issuers`: more than one trusted issuer accepts the token, so its issuer is ambiguous. */
export type TrustedTokenFailure =
  | WorkloadTokenFailure
  | 'unknown-issuer'
  | 'several-issuers'
  | `keys-${OutboundFailure['problem']}`;

export interface RefusedToken {
  ok: false;
  reason: TrustedTokenFailure;
  /** What differs from what is registered, for the log. */
  detail?: string;
  /** Set if the keys could not be read, which is not the client's fault. */
  failure?: OutboundFailure;
}

export type TrustedToken<Issuer> = { ok: true; issuer: Issuer; claims: WorkloadClaims } | RefusedToken;

/** Reads the keys of another party. Throws `OutboundFailure`. */
export function readKeys(
  keySets: KeySets,
  keys: Keys,
  { kid }: Pick<UnverifiedJwt, 'kid'>,
): readonly PublicKey[] | Promise<readonly PublicKey[]> {
  return 'keys' in keys ? keys.keys : keySets.find(keys, kid);
}

/**
 * Verifies a token by the trusted issuers that have its `iss`: exactly one of them must accept it. Two issuers may have one
 * `iss`, such as two clusters that were set up alike; their keys or audiences tell their tokens apart.
 */
export async function verifyTrustedToken<Issuer extends KnownIssuer>(
  { keySets, now, accessTokens = false }: { keySets: KeySets; now: Date; accessTokens?: boolean },
  { text, unverified, issuers }: { text: string; unverified: UnverifiedJwt; issuers: readonly Issuer[] },
): Promise<TrustedToken<Issuer>> {
  const results = await Promise.all(
    issuers.map(async (issuer): Promise<TrustedToken<Issuer>> => {
      try {
        const keys = await readKeys(keySets, issuer.keys, unverified);
        const verified = await verifyWorkloadToken(text, { ...issuer, keys, now, accessTokens });
        return verified.ok ? { ...verified, issuer } : verified;
      } catch (error) {
        if (!(error instanceof OutboundFailure)) throw error;
        return { ok: false, reason: `keys-${error.problem}`, failure: error };
      }
    }),
  );
  const [accepted, another] = results.filter((result) => result.ok);
  if (another !== undefined) return { ok: false, reason: 'several-issuers' };
  return accepted ?? mostTelling(results.filter((result) => !result.ok));
}

/** Reasons that are reported only if no other issuer with this `iss` has a more specific one. */
const lessTelling: readonly string[] = ['unknown-key', 'wrong-signature'];

function mostTelling(refused: readonly RefusedToken[]): RefusedToken {
  const telling = refused.find(({ reason }) => !lessTelling.includes(reason));
  return telling ?? refused[0] ?? { ok: false, reason: 'unknown-issuer' };
}
