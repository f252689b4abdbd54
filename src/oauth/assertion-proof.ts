import { createPublicKey } from 'node:crypto';
import type { PublicKey } from '../outbound/key-set.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { Clock } from '../platform/clock.ts';
import type { OneTimeValues } from '../replay/one-time-values.ts';
import {
  type AssertionFailure,
  type ClientAssertion,
  type UnverifiedAssertion,
  verifyAssertion,
} from './client-assertion.ts';
import type { AssertionCredentials } from './client-credentials.ts';

/** The keys of a client: as they are, or where it publishes them. */
export type ClientKeys = { id: string } & ({ keys: PublicKey[] } | { uri: string });

/** What is known of a client that proves itself by keys; `keys` undefined: it does not, or there is none. */
export interface KeyHolder {
  keys?: ClientKeys | undefined;
  legacyAudience?: boolean;
}

export type AssertionProof =
  | { ok: true; keysId: string; assertion: ClientAssertion }
  | { ok: false; reason: AssertionFailure | 'no-keys' | `keys-${OutboundFailure['problem']}` };

export interface AssertionProofs {
  /** Whether the client itself has signed this assertion for us, and its time is not over. */
  prove(
    holder: KeyHolder,
    credentials: AssertionCredentials,
    read: UnverifiedAssertion,
  ): Promise<AssertionProof>;
}

export interface AssertionProofsDeps {
  clock: Clock;
  issuer: string;
  keySets: KeySets;
}

/** Nobody's: what is of an unknown client, or of one without keys, costs a verification, too. */
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

  async function keysOf(held: ClientKeys, kid: string | undefined): Promise<PublicKey[]> {
    return 'uri' in held ? keySets.find(held.uri, kid) : held.keys;
  }

  return {
    async prove({ keys: held, legacyAudience = false }, { assertion: text }, { kid }) {
      const options = { issuer, now: clock.now(), ...(legacyAudience ? { legacyAudiences } : {}) };
      if (held === undefined) {
        await verifyAssertion(text, { ...options, keys: [{ kid, alg: undefined, key: decoy }] });
        return { ok: false, reason: 'no-keys' };
      }
      try {
        const keys = await keysOf(held, kid);
        const verified = await verifyAssertion(text, { ...options, keys });
        return verified.ok ? { ok: true, keysId: held.id, assertion: verified.assertion } : verified;
      } catch (error) {
        if (!(error instanceof OutboundFailure)) throw error;
        return { ok: false, reason: `keys-${error.problem}` };
      }
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
