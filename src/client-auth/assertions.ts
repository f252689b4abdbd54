import { createPublicKey } from 'node:crypto';
import type { PublicKey } from '../outbound/key-set.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Clock } from '../platform/clock.ts';
import type { OneTimeValues } from '../replay/one-time-values.ts';
import { type AssertionFailure, type ClientAssertion, verifyAssertion } from './client-assertion.ts';
import type { AssertionCredentials } from './client-credentials.ts';
import type { UnverifiedJwt } from './signed-jwt.ts';
import {
  type Keys,
  type KnownIssuer,
  readKeys,
  type TrustedTokenFailure,
  verifyTrustedToken,
} from './trusted-token.ts';
import {
  type ClientIdentity,
  type IdentityFailure,
  matchIdentity,
  refuseIdentity,
} from './workload-identity.ts';
import { verifyWorkloadSignature, type WorkloadClaims } from './workload-token.ts';

/** The keys that a client signs its own assertions with. */
export interface ClientKeys {
  /** Its credentials: one for each registered key, or one for the URL at which it publishes them. */
  credentials: readonly { id: string; keys: Keys }[];
  /** Whether its assertions may name the token endpoint as audience, or several audiences. */
  legacyAudience: boolean;
}

interface Failure {
  ok: false;
  reason: AssertionFailure | TrustedTokenFailure | IdentityFailure;
  /** What differs from what is registered, for the log. */
  detail?: string;
  /** Set if the keys could not be read, which is not the client's fault. */
  failure?: OutboundFailure;
}
export type OwnAssertionResult = { ok: true; credentialId: string; assertion: ClientAssertion } | Failure;
export type WorkloadTokenResult =
  | { ok: true; issuerId: string; identity: ClientIdentity; claims: WorkloadClaims }
  | Failure;

/** Finds the identities that a verified token of an issuer may match. */
export interface IdentityFinder {
  /** Returns every identity that can match; `isWhole` is false if there are too many to compare. */
  candidates(issuer: KnownIssuer, claims: WorkloadClaims): Promise<IdentityCandidates>;
  /** Returns identities of the issuer for the explanation of a refusal, those that the claims identify first. */
  explaining(issuer: KnownIssuer, claims: WorkloadClaims): Promise<readonly ClientIdentity[]>;
}
/** Returns identities of the issuer for the explanation of a refusal: first those that the claims identify. */
export interface IdentityCandidates {
  identities: readonly ClientIdentity[];
  isWhole: boolean;
}

/**
 * Verifies assertions. If the client has no keys, or no trusted issuer has the token's `iss`, a decoy
 * key is used, so that the refusal takes as long as that of a wrong signature.
 */
export interface AssertionVerifier {
  /** Verifies an assertion that the client signed itself. */
  verifyOwn(
    text: string,
    unverified: UnverifiedJwt,
    keys: ClientKeys | undefined,
  ): Promise<OwnAssertionResult>;
  /** Verifies a token by which one of these trusted issuers identifies a client. */
  verifyWorkload(
    text: string,
    unverified: UnverifiedJwt,
    known: { issuers: readonly KnownIssuer[]; find: IdentityFinder },
  ): Promise<WorkloadTokenResult>;
}

export interface AssertionVerifierDeps {
  clock: Clock;
  issuer: string;
  keySets: KeySets;
}

/** A public key that belongs to no client. */
const decoy = createPublicKey({
  key: {
    kty: 'EC',
    crv: 'P-256',
    x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
    y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
  },
  format: 'jwk',
});

function decoyKeys({ kid }: UnverifiedJwt): PublicKey[] {
  return [{ kid, alg: undefined, key: decoy }];
}

export function createAssertionVerifier({
  clock,
  issuer,
  keySets,
}: AssertionVerifierDeps): AssertionVerifier {
  const legacyAudiences = [`${issuer}/oauth2/token`];
  return {
    async verifyOwn(text, unverified, known) {
      const { legacyAudience = false } = known ?? {};
      const credentials = known?.credentials ?? [{ id: '', keys: { keys: decoyKeys(unverified) } }];
      const options = { issuer, now: clock.now(), ...(legacyAudience ? { legacyAudiences } : {}) };
      try {
        const sets = await Promise.all(
          credentials.map(async ({ id, keys }) => ({ id, keys: await readKeys(keySets, keys, unverified) })),
        );
        const keys = sets.flatMap((set) => set.keys);
        const verified = await verifyAssertion(text, { ...options, keys });
        if (!verified.ok) return verified;
        const { assertion } = verified;
        const set = sets.find((one) => one.keys.includes(assertion.key));
        return { ok: true, credentialId: set?.id ?? '', assertion };
      } catch (error) {
        if (!(error instanceof OutboundFailure)) throw error;
        return { ok: false, reason: `keys-${error.problem}`, failure: error };
      }
    },
    async verifyWorkload(text, unverified, { issuers, find }) {
      const now = clock.now();
      if (issuers.length === 0) {
        await verifyWorkloadSignature(text, { keys: decoyKeys(unverified) });
        return { ok: false, reason: 'unknown-issuer' };
      }
      const verified = await verifyTrustedToken({ keySets, now }, { text, unverified, issuers });
      if (!verified.ok) return verified;
      const { issuer: accepting, claims } = verified;
      const { identities, isWhole } = await find.candidates(accepting, claims);
      if (!isWhole) return { ok: false, reason: 'too-many-identities' };
      const matched = matchIdentity(claims, identities);
      if (matched === undefined) return refuseIdentity(claims, await find.explaining(accepting, claims));
      return matched.ok ? { ...matched, issuerId: accepting.id, claims } : matched;
    },
  };
}

export interface UsedAssertions {
  /**
   * Consumes the assertion. Returns true if this request is the first to use it, also when the same request calls
   * again.
   */
  use(credentials: AssertionCredentials, assertion: ClientAssertion): Promise<boolean>;
}

/** Consumes the assertion of each request once, because a request may authenticate its client several times. */
export function createUsedAssertions(): { through(values: OneTimeValues): UsedAssertions } {
  const seen = new WeakMap<AssertionCredentials, Promise<boolean>>();
  return {
    through: (values) => ({
      use(credentials, { clientId, jti, expiresAt }) {
        const before = seen.get(credentials);
        if (before !== undefined) return before;
        const exp = expiresAt.getTime() / 1000;
        const use = values.use({ purpose: 'client_assertion', issuer: clientId, jti, exp });
        seen.set(credentials, use);
        return use;
      },
    }),
  };
}
