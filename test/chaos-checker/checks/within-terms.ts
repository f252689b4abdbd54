import type { Facts, GrantFacts, Sighting } from '../facts.ts';
import { isOk, isPossible, type Operation, type TokenSeen, type Violation } from '../history.ts';
import { approvalsNeeded } from '../risks.ts';

type Scopes = readonly string[];

const isWithin = (narrow: Scopes, wide: Scopes): boolean => narrow.every((scope) => wide.includes(scope));

interface Finding {
  what: string;
  operations: Operation[];
}

/** Whether the grant had become active before this read, so that its terms are final. */
const wasActive = ({ grant }: Sighting): boolean => grant.startsAtMs !== null;

/** Whether the grant is delegated. Its approvals are those of the first ancestor. */
const isDelegated = ({ parentId = null }: Sighting['grant']): boolean => parentId !== null;

/** Finds a delegated grant that has more scopes than its parent, or ends later. */
function wrongAgainstParent(facts: Facts, { operation, grant }: Sighting): Finding[] {
  const parent = facts.grants.get(grant.parentId ?? '');
  const activeRead = parent?.sightings.find(wasActive);
  if (activeRead === undefined) return [];
  const faults = {
    'has scopes beyond its parent': !isWithin(grant.scopes, activeRead.grant.scopes),
    'outlives its parent': (grant.expiresAtMs ?? 0) > (activeRead.grant.expiresAtMs ?? 0),
  };
  return findings(faults, [activeRead.operation, operation]);
}

/** Finds the problems that a single read of a grant shows. */
function wrongInItself({ operation, grant }: Sighting): Finding[] {
  const { scopes, requestedScopes, durationSeconds, requestedDurationSeconds, startsAtMs, expiresAtMs } =
    grant;
  const lifeMs = startsAtMs === null || expiresAtMs === null ? 0 : expiresAtMs - startsAtMs;
  const faults = {
    'has scopes that were not requested': !isWithin(scopes, requestedScopes),
    'lasts longer than requested': durationSeconds > requestedDurationSeconds,
    'runs longer than its duration': lifeMs > durationSeconds * 1000,
    'was active without its approvals':
      startsAtMs !== null && !isDelegated(grant) && grant.approvedBy.length < approvalsNeeded(scopes),
  };
  return findings(faults, [operation]);
}

function findings(faults: Record<string, boolean>, operations: Operation[]): Finding[] {
  return Object.entries(faults)
    .filter(([, isFault]) => isFault)
    .map(([what]) => ({ what, operations }));
}

/** Compares a grant with the terms of its request, and of each approval once it was answered. */
function wrongAgainst(limits: readonly Operation[], { operation, grant }: Sighting): Finding[] {
  return limits
    .filter((limit) => limit === operation || limit.endedMs < operation.begunMs)
    .flatMap((limit) => {
      const { scopes = grant.scopes, durationSeconds = grant.durationSeconds } = limit.asked;
      const kind = limit.kind === 'approve' ? 'approval' : limit.kind;
      const faults = {
        [`has scopes beyond its ${kind}`]: !isWithin(grant.scopes, scopes),
        [`lasts longer than its ${kind}`]: grant.durationSeconds > durationSeconds,
      };
      return findings(faults, [limit, operation]);
    });
}

/** Finds approvals that are shown before the person had sent them. */
function wrongApprovals(approvals: readonly Operation[], { operation, grant }: Sighting): Finding[] {
  return grant.approvedBy
    .filter((person) =>
      approvals.every((one) => one.asked.personId !== person || one.begunMs > operation.endedMs),
    )
    .map((person) => ({ what: `shows an approval that ${person} did not give`, operations: [operation] }));
}

/** Finds terms of a grant that changed after it had become active. */
function wrongLater(reads: readonly Sighting[]): Finding[] {
  const [first, ...later] = reads;
  if (first === undefined) return [];
  const terms = ({ grant: { scopes, durationSeconds, startsAtMs, expiresAtMs } }: Sighting): string =>
    JSON.stringify([scopes, durationSeconds, startsAtMs, expiresAtMs]);
  return later
    .filter((one) => terms(one) !== terms(first))
    .map((one) => ({
      what: 'changed its terms after it was active',
      operations: [first.operation, one.operation],
    }));
}

/** Keeps the first finding of each kind: a wrong grant is read often. */
function firstOfEach(found: Finding[]): Finding[] {
  const seen = new Set<string>();
  return found.filter(({ what }) => !seen.has(what) && seen.add(what));
}

function wrongGrant(facts: Facts, { attempts, request, sightings }: GrantFacts): Finding[] {
  const reason = sightings[0]?.grant.reason ?? '';
  const requests = request === undefined ? (facts.requests.get(reason) ?? []).slice(0, 1) : [request];
  const approvals = attempts.filter((one) => one.kind === 'approve' && isPossible(one));
  const limits = [...requests, ...approvals.filter(isOk)];
  const all = sightings.flatMap((one) => [
    ...wrongInItself(one),
    ...wrongAgainst(limits, one),
    ...wrongApprovals(approvals, one),
    ...wrongAgainstParent(facts, one),
  ]);
  return firstOfEach([...all, ...wrongLater(sightings.filter(wasActive))]);
}

function wrongToken(facts: Facts, token: TokenSeen, mint: Operation): Finding[] {
  const { scopes = token.scopes, grantId: pinned = token.grantId } = mint.asked;
  const grant = facts.grants.get(token.grantId ?? '');
  const activeGrant = grant?.sightings.find(wasActive)?.grant;
  const subject = facts.tokens.get(mint.asked.subjectJti ?? '')?.token ?? token;
  const faults = {
    'has scopes beyond its subject token': !isWithin(token.scopes, subject.scopes),
    'outlives its subject token': token.expiresAtMs > subject.expiresAtMs,
    'has scopes that were not requested': !isWithin(token.scopes, scopes),
    'is under another grant than requested': pinned !== token.grantId,
    'has scopes beyond its grant': activeGrant !== undefined && !isWithin(token.scopes, activeGrant.scopes),
    'outlives its grant': grant?.expiresAtMs !== undefined && token.expiresAtMs > grant.expiresAtMs,
  };
  return findings(faults, [mint]);
}

/** Finds grants that exceed their request or their approvals, and tokens that exceed their grant. */
export function withinTerms(facts: Facts): Violation[] {
  const check = 'within-terms';
  const grants = [...facts.grants.values()].flatMap((grant) =>
    wrongGrant(facts, grant).map(({ what, operations }) => ({
      check,
      agentId: grant.agentId,
      what: `grant ${grant.id} ${what}`,
      operations,
    })),
  );
  const tokens = [...facts.tokens.values()].flatMap(({ token, mint }) =>
    wrongToken(facts, token, mint).map(({ what, operations }) => ({
      check,
      agentId: token.agentId,
      what: `token ${token.jti} ${what}`,
      operations,
    })),
  );
  return [...grants, ...tokens];
}
