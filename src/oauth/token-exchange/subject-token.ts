import {
  type RestrictionFailure,
  restrictionFailure,
  type TokenUse,
} from '../../client-auth/restrictions.ts';
import type { Claims, UnverifiedJwt } from '../../client-auth/signed-jwt.ts';
import { type KnownIssuer, type RefusedToken, verifyTrustedToken } from '../../client-auth/trusted-token.ts';
import { issuerOf } from '../../client-auth/workload-token.ts';
import { BrokerError } from '../../errors.ts';
import { type Actor, isName, outsideActors, type SubjectId } from '../../grants/delegation.ts';
import type { KeySets } from '../../outbound/key-sets.ts';
import type { Clock } from '../../platform/clock.ts';

/** A trusted issuer whose subjects agents may act for. */
export interface SubjectIssuer extends KnownIssuer {
  /**
   * A number that is raised when trust in the issuer changes: tokens issued for its earlier subject tokens are then
   * inactive.
   */
  epoch: number;
}

/** The subject of a trusted issuer's token. */
export interface OutsideSubject {
  /** The subject's name, prefixed with the id of its issuer, which no id of an agent begins with. */
  sub: string;
  sub_id: SubjectId;
  /** The actors named in the token. */
  act: Actor | undefined;
  /** The expiry of the token, in seconds since the epoch. */
  exp: number;
  issuer: { id: string; epoch: number };
}

/** Finds the issuers with this `iss` that are trusted for subject tokens now. */
export type FindSubjectIssuers = (issuer: string) => Promise<SubjectIssuer[]>;

/** The client that uses a subject token, and the key that it proves. */
export type SubjectUse = Pick<TokenUse, 'actorId' | 'jkt'>;

export interface SubjectTokensDeps {
  clock: Clock;
  /** The issuer of this server, which no actor named by another issuer may have. */
  ownIssuer: string;
  keySets: KeySets;
  findIssuers: FindSubjectIssuers;
}

export interface SubjectTokens {
  /** Verifies a subject token. Throws `invalid-subject-token`, `unavailable` if the issuer's keys cannot be read. */
  read(text: string, unverified: UnverifiedJwt, use: SubjectUse): Promise<OutsideSubject>;
}

export function createSubjectTokens(deps: SubjectTokensDeps): SubjectTokens {
  const { clock, ownIssuer, keySets, findIssuers } = deps;
  return {
    async read(text, unverified, use) {
      const issuer = issuerOf(unverified) ?? '';
      const issuers = await findIssuers(issuer);
      if (issuers.length === 0) throw invalidSubject('its issuer is not a trusted subject token issuer');
      const options = { keySets, now: clock.now(), accessTokens: true };
      const verified = await verifyTrustedToken(options, { text, unverified, issuers });
      if (!verified.ok) throw refuseSubject(verified);
      const { id, epoch } = verified.issuer;
      const failure = restrictionFailure(verified.claims, { ...use, issuer: ownIssuer });
      if (failure !== undefined) throw invalidSubject(restrictionTexts[failure]);
      return { ...toSubject(verified.claims, { id, issuer, ownIssuer }), issuer: { id, epoch } };
    },
  };
}

function refuseSubject({ reason, failure }: RefusedToken): BrokerError {
  if (failure === undefined) return invalidSubject(reason);
  const internal = `cannot read the keys of a subject token issuer: ${failure.problem}`;
  return new BrokerError('unavailable', { internal, cause: failure, retryAfterSeconds: 5 });
}

function toSubject(
  { sub, exp, act }: Claims & { sub: string; exp: number },
  { id, issuer, ownIssuer }: { id: string; issuer: string; ownIssuer: string },
): Omit<OutsideSubject, 'issuer'> {
  if (!isName(sub)) throw invalidSubject('wrong-claims');
  const before = outsideActors(act, { issuer, ownIssuer });
  if (act !== undefined && before === undefined) throw invalidSubject('invalid act claim or too many actors');
  return {
    sub: `${id}:${sub}`,
    sub_id: { format: 'iss_sub', iss: issuer, sub },
    act: before,
    exp: Math.floor(exp),
  };
}

const restrictionTexts: Record<RestrictionFailure, string> = {
  'unknown-confirmation': 'it is bound to a key by an unknown confirmation method',
  'unproved-key': 'it is bound to a key, and the request has no DPoP proof of that key',
  'other-actor': 'its may_act names another actor',
};

/** Makes the refusal of a subject token. The client has authenticated, so it may see the reason. */
function invalidSubject(reason: string): BrokerError {
  return new BrokerError('invalid-subject-token', { detail: `invalid subject token: ${reason}` });
}
