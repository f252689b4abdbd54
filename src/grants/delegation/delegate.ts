import { type Agent, agentStatus } from '../../agents/agent.ts';
import { byAct } from '../../audit/audit-event.ts';
import type { Detail } from '../../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../../caller.ts';
import type { Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { BrokerError, type Refusal, refuse } from '../../errors.ts';
import { withApprovals } from '../../policies/decision.ts';
import type { Decision, DecisionRequest } from '../../policies/facts.ts';
import type { Resource } from '../../resources/resource.ts';
import { listApprovals } from '../approvals/store.ts';
import { requestFacts } from '../decision-facts.ts';
import type { GrantsDeps } from '../deps.ts';
import { type ApprovalFacts, effectiveStatus, grantPeriod, lapseTime } from '../grant.ts';
import { queueRequest } from '../open/store.ts';
import { isOverLimit, stillHolds } from '../request.ts';
import { requestDigest } from '../request-digest.ts';
import { controllersOf, countApprovals } from '../review.ts';
import { findGrant, insertGrant, type StoredGrant } from '../store.ts';
import type { Delegation } from './delegation.ts';
import * as store from './store.ts';

/** What is to be handed down: within what the token of the parent gives. */
export interface HandingDown {
  parentId: string;
  scopes: string[];
  authorizationDetails: Detail[] | null;
  delegation: Delegation;
  /** When the token ends that it is got with: the grant does, too. */
  notAfter: Date;
  /** That token, and those that it was got with: with the revocation of one, the grant ends. */
  subjects: string[];
}

interface Decided {
  parent: StoredGrant;
  agent: Agent;
  resource: Resource;
  policyEpoch: bigint | undefined;
  facts: DecisionRequest;
  approvals: ApprovalFacts;
  decision: Decision;
  durationSeconds: number;
  /** The agents of the grants above. */
  holders: string[];
}

const maxAttempts = 3;

/**
 * Makes a grant of the caller that is handed down from another agent's, or answers the one that the same token gave before;
 * its id. Policy decides again, with the caller as principal and `delegated`; what was approved counts as far as the
 * approver controls neither. Refusals: `invalid-subject-token` (the parent is not active, or the token is revoked),
 * `delegation-denied`, `too-many-grants`.
 */
export async function delegateGrant(
  deps: GrantsDeps,
  act: Act<WorkloadAgent>,
  handing: HandingDown,
): Promise<string> {
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const decided = await decide(deps, act, handing);
    const id = await withTransaction(deps.db, (tx) => record(deps, tx, { act, handing, decided }));
    if (id !== undefined) return id;
  }
  throw new BrokerError('unavailable', {
    retryAfterSeconds: 1,
    internal: 'a delegation kept being overtaken',
  });
}

async function decide(deps: GrantsDeps, act: Act<WorkloadAgent>, handing: HandingDown): Promise<Decided> {
  const { db, agents, policies, clock } = deps;
  const now = clock.now();
  const agent = await agents.find(db, act.caller.id);
  if (agent === undefined || agentStatus(agent, now) !== 'enabled') throw new BrokerError('invalid-client');
  const parent = await findGrant(db, handing.parentId);
  const resource = parent === undefined ? undefined : await deps.resources.find(db, parent.resourceId);
  if (parent === undefined || resource === undefined) throw ended();
  const policyEpoch = await policies.refresh();
  const line = await readLine(deps, parent);
  const approvals = await inheritedApprovals(deps, line, agent);
  const durationSeconds = Math.ceil((handing.notAfter.getTime() - now.getTime()) / 1000);
  const { scopes, authorizationDetails } = handing;
  const facts = requestFacts({
    agent,
    resource,
    scopes,
    authorizationDetails,
    durationSeconds,
    hasTicket: parent.ticket !== null,
    circumstances: { now, address: act.origin.address, authMethod: act.caller.authMethod, delegated: true },
  });
  const decision = policies.engine.decide(
    withApprovals(facts, approvals.approvals, approvals.approver_groups),
  );
  const holders = line.map(({ agentId }) => agentId);
  return { parent, agent, resource, policyEpoch, facts, approvals, decision, durationSeconds, holders };
}

const ended = () => new BrokerError('invalid-subject-token', { detail: 'its grant has ended' });

/** The grants above one that is handed down from `parent`, from the first on. */
async function readLine({ db }: GrantsDeps, parent: StoredGrant): Promise<StoredGrant[]> {
  const line: StoredGrant[] = [];
  for (const id of parent.ancestors) {
    const grant = await findGrant(db, id);
    if (grant === undefined) throw ended();
    line.push(grant);
  }
  return [...line, parent];
}

/** The approvals of the grants above that count: of people who are approvers now and control none of the agents. */
async function inheritedApprovals(
  deps: GrantsDeps,
  line: readonly StoredGrant[],
  agent: Agent,
): Promise<ApprovalFacts> {
  const { db, agents, admins, clock } = deps;
  const controllers = await agents.controllersOf(db, agent.id, clock.now());
  for (const grant of line)
    for (const controller of await controllersOf(deps, db, grant)) controllers.add(controller);
  const may = (await admins.listApprovers(db)).filter(({ id }) => !controllers.has(id));
  const ids = line.map(({ id }) => id);
  const given = [...(await listApprovals(db, ids)).values()].flat();
  const byPerson = new Map(given.map((approval) => [approval.by, approval]));
  return countApprovals([...byPerson.values()], new Map(may.map(({ id, groups }) => [id, groups])));
}

interface Recording {
  act: Act<WorkloadAgent>;
  handing: HandingDown;
  decided: Decided;
}

/** Writes the grant down; undefined if what was decided about has changed. */
async function record(deps: GrantsDeps, tx: Tx, recording: Recording): Promise<string | undefined | Refusal> {
  const { act, handing, decided } = recording;
  const { parent, agent, resource } = decided;
  if (decided.decision.decision !== 'permit') return recordDenial(deps, tx, recording);
  // Who comes second finds what the first has made.
  await queueRequest(tx, [agent.id, ...decided.holders]);
  if (!(await stillHolds(deps, tx, decided))) return undefined;
  if (!(await isAlive(deps, tx, handing))) return refuse('invalid-subject-token', { detail: 'it has ended' });
  const now = deps.clock.now();
  const { scopes, authorizationDetails, subjects } = handing;
  const same = { agentId: agent.id, agentEpoch: agent.epoch, subjects, scopes, authorizationDetails, now };
  const known = await store.findSame(tx, same);
  if (known?.status === 'revoked')
    return refuse('invalid-subject-token', { detail: 'what it gave was revoked' });
  if (known !== undefined) return known.id;
  if (await isOverLimit(tx, { agentId: agent.id, resourceId: resource.id, handedDown: true, now })) {
    const detail = 'wait until what was handed down has expired';
    return refuse('too-many-grants', { detail, retryAfterSeconds: 60 });
  }
  const period = periodOf(recording, now);
  if (period === undefined) return refuse('invalid-subject-token', { detail: 'it ends now' });
  const id = deps.ids.next('grant');
  await insert(tx, { ...recording, id, now, period });
  const details = { parent_id: parent.id, delegation: handing.delegation, scopes };
  const event = { ...byAct(act), agentId: agent.id, grantId: id };
  const terms =
    authorizationDetails === null ? details : { ...details, authorization_details: authorizationDetails };
  await deps.audit.append(
    tx,
    { ...event, type: 'grant.requested', objectId: resource.id, details: terms },
    {
      ...event,
      type: 'grant.activated',
      details: {
        approvals: decided.approvals.approvals,
        policies: decided.decision.policies,
        expires_at: period.expiresAt,
      },
    },
  );
  return id;
}

/** Whether the grants above it are active and its token is not revoked; nobody ends them until the transaction ends. */
async function isAlive({ clock }: GrantsDeps, tx: Tx, { parentId, subjects }: HandingDown): Promise<boolean> {
  const known = await findGrant(tx, parentId);
  if (known === undefined || !(await store.lockLine(tx, [...known.ancestors, parentId]))) return false;
  const parent = await findGrant(tx, parentId);
  if (parent === undefined || effectiveStatus(parent, clock.now()) !== 'active') return false;
  return store.lockTokens(tx, subjects);
}

/** Until the first end of the token, the parent and the agent; undefined: that is now. */
function periodOf({ handing, decided }: Recording, now: Date): ReturnType<typeof grantPeriod> | undefined {
  const { parent, agent, durationSeconds } = decided;
  const { startsAt, expiresAt } = grantPeriod({
    decidedAt: now,
    durationSeconds,
    agentExpiresAt: agent.expiresAt,
  });
  const above = [parent.expiresAt ?? now, parent.agentExpiresAt ?? expiresAt];
  const ends = [expiresAt, handing.notAfter, ...above].map((end) => end.getTime());
  const end = Math.min(...ends);
  return end <= now.getTime() ? undefined : { startsAt, expiresAt: new Date(end) };
}

interface Insertion extends Recording {
  id: string;
  now: Date;
  period: ReturnType<typeof grantPeriod>;
}

async function insert(tx: Tx, { id, now, period, handing, decided }: Insertion): Promise<void> {
  const { parent, agent, resource, durationSeconds, approvals } = decided;
  const { scopes, authorizationDetails, delegation, subjects } = handing;
  const reason = `handed down from ${parent.id}`;
  const terms = {
    agentId: agent.id,
    scopes,
    durationSeconds,
    reason,
    ticket: parent.ticket,
    authorizationDetails,
  };
  await insertGrant(tx, {
    ...terms,
    id,
    resourceId: resource.id,
    requestDigest: requestDigest({ ...terms, resource: resource.identifier }, resource.scopes),
    approvalsRequired: 0,
    policies: decided.decision.policies,
    ownerAtRequest: agent.owner,
    agentEpoch: agent.epoch,
    resourceEpoch: resource.epoch,
    requestedAt: now,
    lapsesAt: lapseTime(now),
    facts: decided.facts,
    period,
    handedDown: {
      ancestors: [...parent.ancestors, parent.id],
      delegation,
      subjects,
      approvals,
    },
  });
}

async function recordDenial(
  deps: GrantsDeps,
  tx: Tx,
  { act, handing, decided }: Recording,
): Promise<Refusal> {
  const { decision, policies, errors } = decided.decision;
  const code = decision === 'error' ? 'policy-error' : 'policy-denied';
  const { parentId, scopes, delegation } = handing;
  await deps.audit.append(tx, {
    ...byAct(act),
    type: 'grant.denied_by_policy',
    outcome: 'denied',
    agentId: act.caller.id,
    objectId: decided.resource.id,
    details: { parent_id: parentId, scopes, delegation, code, policies, errors },
  });
  return refuse('delegation-denied', { recorded: true, internal: errors.join('; ') });
}
