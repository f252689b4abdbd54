import { createPublicKey } from 'node:crypto';
import type { PublicKey } from '../../outbound/key-set.ts';
import type { KeySetPlace, KeySets } from '../../outbound/key-sets.ts';
import { OutboundFailure } from '../../outbound/outbound-failure.ts';
import type { Clock } from '../../platform/clock.ts';
import type { OneTimeValues } from '../../replay/one-time-values.ts';
import type { Conditions } from '../../trusted-issuers/conditions.ts';
import { type AssertionFailure, type ClientAssertion, verifyAssertion } from './client-assertion.ts';
import type { AssertionCredentials } from './client-credentials.ts';
import type { UnverifiedJwt } from './signed-jwt.ts';
import { verifyWorkloadToken, type WorkloadTokenFailure } from './workload-token.ts';

/** Public keys as they are, or where somebody publishes them. */
export type Keys = { keys: PublicKey[] } | KeySetPlace;

/** A client's own keys. */
export interface ClientKeys {
  id: string;
  keys: Keys;
  /** Whether its assertions may name the token endpoint as audience, or several. */
  legacyAudience: boolean;
}

/** Who a client is to an issuer that is trusted. */
export interface ClientIdentity {
  id: string;
  keys: Keys;
  issuer: string;
  subject: string;
  audience: string;
  conditions: readonly Conditions[];
}

interface Failure {
  ok: false;
  reason: AssertionFailure | WorkloadTokenFailure | `keys-${OutboundFailure['problem']}`;
  /** The keys could not be read, which is not the client's doing. */
  failure?: OutboundFailure;
}
export type OwnProof = { ok: true; keysId: string; assertion: ClientAssertion } | Failure;
export type IdentityProof = { ok: true; identityId: string } | Failure;

/** `undefined` in place of keys or identity: there are none. What is said then costs a verification, too. */
export interface AssertionProofs {
  /** Whether the client itself has signed this for us, and its time is not over. */
  ofKeys(text: string, said: UnverifiedJwt, held: ClientKeys | undefined): Promise<OwnProof>;
  /** Whether the issuer has said this of the client to us, and its time is not over. */
  ofIdentity(text: string, said: UnverifiedJwt, held: ClientIdentity | undefined): Promise<IdentityProof>;
}

export interface AssertionProofsDeps {
  clock: Clock;
  issuer: string;
  keySets: KeySets;
}

/** Nobody's. */
const decoy = createPublicKey({
  key: {
    kty: 'EC',
    crv: 'P-256',
    x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
    y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
  },
  format: 'jwk',
});

export function createAssertionProofs({ clock, issuer, keySets }: AssertionProofsDeps): AssertionProofs {
  const legacyAudiences = [`${issuer}/oauth2/token`];

  /** Runs `verify` with the keys, those of a decoy if there are none. */
  async function withKeys<T>(
    held: Keys | undefined,
    { kid }: UnverifiedJwt,
    verify: (keys: PublicKey[]) => Promise<T>,
  ): Promise<T | Failure> {
    if (held === undefined) return verify([{ kid, alg: undefined, key: decoy }]);
    try {
      return await verify('keys' in held ? held.keys : await keySets.find(held, kid));
    } catch (error) {
      if (!(error instanceof OutboundFailure)) throw error;
      return { ok: false, reason: `keys-${error.problem}`, failure: error };
    }
  }

  return {
    ofKeys(text, said, held) {
      const { id: keysId = '', legacyAudience = false } = held ?? {};
      const options = { issuer, now: clock.now(), ...(legacyAudience ? { legacyAudiences } : {}) };
      return withKeys(held?.keys, said, async (keys) => {
        const verified = await verifyAssertion(text, { ...options, keys });
        return verified.ok ? { ok: true, keysId, assertion: verified.assertion } : verified;
      });
    },
    ofIdentity(text, said, held) {
      const nobody = { id: '', issuer: '', subject: '', audience: '', conditions: [] };
      const { id: identityId, ...expected } = held ?? nobody;
      return withKeys(held?.keys, said, async (keys) => {
        const verified = await verifyWorkloadToken(text, { ...expected, keys, now: clock.now() });
        return verified.ok ? { ok: true, identityId } : verified;
      });
    },
  };
}

export interface SpentAssertions {
  /** Uses the assertion up; true if nobody has before, however often this request asks. */
  spend(credentials: AssertionCredentials, assertion: ClientAssertion): Promise<boolean>;
}

/** A request may prove its client several times (each time that it looks again), but its assertion is used once. */
export function createSpentAssertions(): { through(values: OneTimeValues): SpentAssertions } {
  const seen = new WeakMap<AssertionCredentials, Promise<boolean>>();
  return {
    through: (values) => ({
      spend(credentials, { clientId, jti, expiresAt }) {
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
