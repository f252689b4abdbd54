import { type Death, deathsOf } from './checks/deaths.ts';
import { longestOverrunMs } from './checks/leases.ts';
import { type Facts, factsOf } from './facts.ts';
import { isOk, type Operation, type TokenSeen } from './history.ts';

export interface Evidence extends Facts {
  /** The grants that the database stores as ended. */
  storedAsEnded: ReadonlySet<string>;
}

/**
 * Counts the opportunities that a history gave a check to find a planted fault: a run may end once each fault had
 * some. An opportunity depends only on the operations, never on whether a check found the fault.
 */
export type CountChances = (evidence: Evidence, agentId: string) => number;

/** Groups the history as if every operation of unknown outcome had succeeded. */
function pessimistic(operations: readonly Operation[]): Facts {
  const certain = operations.map((one) =>
    one.outcome === 'unknown' ? { ...one, outcome: 'ok' as const } : one,
  );
  return factsOf({ operations: certain });
}

/** Whether the token could be active at its introspection only because of the fault. */
type Judge = (introspection: Operation, token: TokenSeen) => boolean;

/** Counts the answered introspections of the agent's tokens before these expired. */
const countIntrospections = ({ operations, tokens }: Evidence, agentId: string, judge: Judge): number =>
  operations.filter((one) => {
    const token = tokens.get(one.asked.jti ?? '')?.token;
    if (one.kind !== 'introspect' || !isOk(one) || token?.agentId !== agentId) return false;
    const answeredAtMs = one.begunAtMs + (one.endedMs - one.begunMs);
    return answeredAtMs < token.expiresAtMs && judge(one, token);
  }).length;

const isAfter = (later: Operation, earlier: Operation): boolean =>
  isOk(earlier) && earlier.endedMs < later.begunMs;

/** A token and the request that it was issued for. */
interface Issued {
  token: TokenSeen;
  mint: Operation;
}

/** Whether the operation ended before `death`, if there is one. */
const isBefore = (operation: Operation, death: Death | undefined): boolean =>
  death === undefined || death.by.begunMs > operation.endedMs;

/** Counts introspections of the agent's tokens after their revocation. */
export const usesAfterRevocation: CountChances = (evidence, agentId) => {
  const revocations = evidence.operations.filter(({ kind }) => kind === 'revoke-token');
  const others = deathsOf(pessimistic(evidence.operations.filter((one) => !revocations.includes(one))));
  return countIntrospections(
    evidence,
    agentId,
    (use, { jti }) =>
      revocations.some((one) => one.asked.jti === jti && isAfter(use, one)) &&
      isBefore(use, others.tokens.get(jti)),
  );
};

/**
 * Counts uses of tokens that the agent obtained by exchange, after one of `ends` ended the subject token. One grant
 * serves several exchanges and ends with each of their subject tokens, so neither these nor the parent grant may have
 * ended otherwise. Planted faults affect agents that exchange only tokens that were not themselves obtained by exchange.
 */
function countDerivedUses(
  evidence: Evidence,
  agentId: string,
  { ends, strikes }: { ends: readonly Operation[]; strikes: (end: Operation, subject: Issued) => boolean },
): number {
  const { operations, tokens } = evidence;
  const others = deathsOf(pessimistic(operations.filter((one) => !ends.includes(one))));
  return countIntrospections(evidence, agentId, (use, token) => {
    const mint = tokens.get(token.jti)?.mint;
    const subject = tokens.get(mint?.asked.subjectJti ?? '');
    if (mint === undefined || subject === undefined) return false;
    const subjects = [...tokens.values()].flatMap((one) =>
      one.token.grantId === token.grantId ? [one.mint.asked.subjectJti ?? ''] : [],
    );
    return (
      ends.some((one) => isAfter(use, one) && isAfter(one, mint) && strikes(one, subject)) &&
      [token.jti, ...subjects].every((jti) => isBefore(use, others.tokens.get(jti))) &&
      isBefore(use, others.grants.get(subject.token.grantId ?? ''))
    );
  });
}

/**
 * Counts introspections of tokens that the agent obtained by exchange, after the agent of the subject token was disabled.
 * (The end of a single grant is stored for all its descendants, and would hide the fault.)
 */
export const usesAfterAncestorEnded: CountChances = (evidence, agentId) =>
  countDerivedUses(evidence, agentId, {
    ends: evidence.operations.filter(({ kind, asked }) => kind === 'disable' && asked.agentId !== agentId),
    strikes: (end, { token }) => end.asked.agentId === token.agentId,
  });

const secretPrefix = 'sec_';

/**
 * Counts introspections of tokens that the agent obtained by exchange, after the client secret that authenticated the
 * subject token's agent was withdrawn. (The revocation of a subject token is stored for the grants delegated for it,
 * and would hide the fault.)
 */
export const usesAfterSubjectEnded: CountChances = (evidence, agentId) =>
  countDerivedUses(evidence, agentId, {
    ends: evidence.operations.filter(
      ({ kind, asked }) =>
        kind === 'withdraw' && asked.agentId !== agentId && asked.credential?.startsWith(secretPrefix),
    ),
    strikes: ({ asked }, { mint }) =>
      mint.asked.by !== undefined &&
      'credential' in mint.asked.by &&
      mint.asked.by.credential === asked.credential,
  });

/** Counts the agent's grants that were read as expired and are stored as ended. */
export const expiriesStored: CountChances = ({ grants, storedAsEnded }, agentId) =>
  [...grants.values()].filter(
    (grant) =>
      grant.agentId === agentId &&
      storedAsEnded.has(grant.id) &&
      grant.sightings.some((one) => one.grant.status === 'expired'),
  ).length;

/** Counts the agent's idempotency keys under which more than one request for a grant succeeded. */
export const keysRepeated: CountChances = ({ requests }, agentId) =>
  [...requests.values()].filter((sent) => sent[0]?.asked.agentId === agentId && sent.filter(isOk).length > 1)
    .length;

/** Counts the tokens that were issued to the agent. */
export const tokensIssued: CountChances = ({ tokens }, agentId) =>
  [...tokens.values()].filter(({ token }) => token.agentId === agentId).length;

/** Counts the agent's grants that were read as approved and active. */
export const approvalsSeen: CountChances = ({ grants }, agentId) =>
  [...grants.values()].filter(
    (one) =>
      one.agentId === agentId &&
      one.sightings.some(({ grant }) => grant.startsAtMs !== null && grant.approvedBy.length > 0),
  ).length;

const overlap = (a: Operation, b: Operation): boolean => a.begunMs < b.endedMs && b.begunMs < a.endedMs;

/** Returns the one-time values that were sent with both operations. */
const shared = (a: Operation, b: Operation): string[] =>
  (a.asked.once ?? []).filter((name) => b.asked.once?.includes(name));

/**
 * Counts the agent's assertions (or proofs) that were sent with two concurrent requests, of which one succeeded and
 * the other got a response. The two shared no other one-time value, which would have been a reason to refuse the
 * other.
 */
const sentTwice =
  (what: 'assertion' | 'proof'): CountChances =>
  ({ once }, agentId) =>
    [...once].filter(([name, sent]) => {
      if (!name.startsWith(`${what} `) || sent[0]?.asked.agentId !== agentId) return false;
      return sent.some(
        (one) =>
          isOk(one) &&
          sent.some(
            (other) =>
              other !== one &&
              other.outcome !== 'unknown' &&
              other.status !== undefined &&
              overlap(one, other) &&
              shared(one, other).length === 1,
          ),
      );
    }).length;

export const assertionsSentTwice = sentTwice('assertion');
export const proofsSentTwice = sentTwice('proof');

/** Counts the logins of the agent, with any answer of the target, after a response had shown the lease without access. */
export const loginsAfterAccess: CountChances = ({ operations }, agentId) =>
  operations.filter(
    (login) =>
      login.kind === 'log-in' &&
      login.asked.agentId === agentId &&
      login.outcome !== 'unknown' &&
      operations.some(
        ({ answered: { lease }, endedMs }) =>
          lease !== undefined &&
          lease.id === login.asked.leaseId &&
          lease.accessDisabledAtMs !== null &&
          endedMs < login.begunMs,
      ),
  ).length;

/** Counts the agent's leases that were revoked so long ago that their accounts must be gone. */
export const leasesRevoked: CountChances = ({ operations }, agentId) => {
  const nowMs = operations.reduce((latest, { endedMs }) => Math.max(latest, endedMs), 0);
  const revoked = operations.filter(
    (one) =>
      one.kind === 'revoke-lease' &&
      isOk(one) &&
      one.asked.agentId === agentId &&
      nowMs - one.endedMs > longestOverrunMs,
  );
  return new Set(revoked.map(({ asked }) => asked.leaseId)).size;
};
