import { BrokerError } from '../../errors.ts';
import { type Actor, isName, outsideActors, type SubjectId } from '../../grants/delegation/delegation.ts';
import type { KeySets } from '../../outbound/key-sets.ts';
import { OutboundFailure } from '../../outbound/outbound-failure.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Conditions } from '../../trusted-issuers/conditions.ts';
import type { Keys } from '../clients/assertion-proof.ts';
import type { Claims, UnverifiedJwt } from '../clients/signed-jwt.ts';
import { issuerOf, verifyWorkloadToken } from '../clients/workload-token.ts';

/** An issuer whose subjects agents may act for. */
export interface SubjectIssuer {
  /** `tis_...` */
  id: string;
  /** Of its word: when it is believed otherwise, what was got by it is dead. */
  epoch: number;
  keys: Keys;
  audience: string;
  conditions: Conditions;
}

/** Somebody whom a trusted issuer speaks of. */
export interface OutsideSubject {
  /** Under the issuer's id, which no id of ours is like. */
  sub: string;
  sub_id: SubjectId;
  /** Who acted before. */
  act: Actor | undefined;
  mayAct: unknown;
  /** Whether the token is bound to a key: then who brings it is not who it was given to. */
  isBound: boolean;
  /** In seconds since the epoch. */
  exp: number;
  word: { issuerId: string; epoch: number };
}

export interface SubjectTokensDeps {
  clock: Clock;
  /** Ours: nobody outside may be named by it. */
  ownIssuer: string;
  keySets: KeySets;
  /** One that is trusted for this now; undefined: there is none. */
  findIssuer: (issuer: string) => Promise<SubjectIssuer | undefined>;
}

export interface SubjectTokens {
  /** Whom the token is of. Throws `invalid-subject-token`, `unavailable` where the issuer's keys cannot be read. */
  read(text: string, said: UnverifiedJwt): Promise<OutsideSubject>;
}

export function createSubjectTokens(deps: SubjectTokensDeps): SubjectTokens {
  const { clock, ownIssuer, keySets, findIssuer } = deps;

  async function readKeys(keys: Keys, kid: string | undefined) {
    try {
      return 'keys' in keys ? keys.keys : await keySets.find(keys, kid);
    } catch (error) {
      if (!(error instanceof OutboundFailure)) throw error;
      const internal = `the keys of a subject's issuer: ${error.problem}`;
      throw new BrokerError('unavailable', { internal, cause: error, retryAfterSeconds: 5 });
    }
  }

  return {
    async read(text, said) {
      const issuer = issuerOf(said) ?? '';
      const known = await findIssuer(issuer);
      if (known === undefined) throw unproved('its issuer is not trusted for subjects');
      const { id, epoch, audience, conditions } = known;
      const verified = await verifyWorkloadToken(text, {
        keys: await readKeys(known.keys, said.kid),
        issuer,
        subject: undefined,
        audience,
        conditions: [conditions],
        now: clock.now(),
        accessTokens: true,
      });
      if (!verified.ok) throw unproved(verified.reason);
      return { ...toSubject(verified.claims, { id, issuer, ownIssuer }), word: { issuerId: id, epoch } };
    },
  };
}

function toSubject(
  { sub, exp, act, may_act: mayAct, cnf }: Claims & { sub: string; exp: number },
  { id, issuer, ownIssuer }: { id: string; issuer: string; ownIssuer: string },
): Omit<OutsideSubject, 'word'> {
  if (!isName(sub)) throw unproved('wrong-claims');
  const before = outsideActors(act, { issuer, ownIssuer });
  if (act !== undefined && before === undefined) throw unproved('its actors are too many, or none');
  return {
    sub: `${id}:${sub}`,
    sub_id: { format: 'iss_sub', iss: issuer, sub },
    act: before,
    mayAct,
    isBound: cnf !== undefined,
    exp: Math.floor(exp),
  };
}

/** Who shows it has authenticated: what is wrong with it is told. */
function unproved(reason: string): BrokerError {
  return new BrokerError('invalid-subject-token', { detail: `the subject token is not good: ${reason}` });
}
