import { type Agent, agentStatus } from '../../agents/agent.ts';
import { byAct } from '../../audit/audit-event.ts';
import type { Detail } from '../../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../../caller.ts';
import type { Tx } from '../../db/database.ts';
import { BrokerError, type Refusal, refuse } from '../../errors.ts';
import type { Delegation } from '../../grants/delegation.ts';
import type { Decision, DecisionRequest } from '../../grants/facts.ts';
import { type ApprovalFacts, grantPeriod, lapseTime } from '../../grants/grant.ts';
import { findGrant, insertGrant, type StoredGrant } from '../../grants/grants.ts';
import { effectiveStatus } from '../../grants/liveness.ts';
import { withApprovals } from '../../policies/decision.ts';
import { requestFacts } from '../../policies/decision-facts.ts';
import { listApprovals } from '../approvals/store.ts';
import { type DecidedAbout, decideAndRecord } from '../decide-and-record.ts';
import type { RequestsDeps } from '../deps.ts';
import { refuseOverLimit } from '../limits/gate.ts';
import { requestDigest } from '../request-digest.ts';
import { controllersOf, countApprovals } from '../review.ts';
import * as store from './store.ts';

/** The terms of a delegation. They never exceed those of the subject token. */
export interface DelegationTerms {
  parentId: string;
  scopes: string[];
  authorizationDetails: Detail[] | null;
  delegation: Delegation;
  /** The expiry of the subject token: the grant ends no later. */
  notAfter: Date;
  /** The ids of the subject token and of its own subject tokens: the grant ends if one is revoked. */
  subjects: string[];
}

interface Decided extends DecidedAbout {
  parent: StoredGrant;
  facts: DecisionRequest;
  approvals: ApprovalFacts;
  decision: Decision;
  durationSeconds: number;
  /** The agents of the ancestors. */
  holders: string[];
}

/**
 * Makes a grant of the caller that is delegated from another agent's grant, or finds the one that the same
 * exchange made before. Returns its id. Policy decides again, with the caller as principal and `delegated`
 * set. An approval of an ancestor counts only if its approver controls neither the caller nor the agent of any ancestor. Throws `invalid-subject-token`
 * (the parent is not active, or the token is revoked), `delegation-denied`, `too-many-grants`.
 */
export async function delegateGrant(
  deps: RequestsDeps,
  act: Act<WorkloadAgent>,
  wanted: DelegationTerms,
): Promise<string> {
  return decideAndRecord(deps, {
    decide: () => decide(deps, act, wanted),
    permit: async (tx, decided) =>
      decided.decision.decision === 'permit' ? decided : recordDenial(deps, tx, { act, wanted, decided }),
    otherAgents: ({ holders }) => holders,
    record: (tx, decided) => record(deps, tx, { act, wanted, decided }),
  });
}

async function decide(
  deps: RequestsDeps,
  act: Act<WorkloadAgent>,
  wanted: DelegationTerms,
): Promise<Decided> {
  const { db, agents, policies, clock } = deps;
  const now = clock.now();
  const agent = await agents.find(db, act.caller.id);
  if (agent === undefined || agentStatus(agent, now) !== 'enabled') throw new BrokerError('invalid-client');
  const parent = await findGrant(db, wanted.parentId);
  const resource = parent === undefined ? undefined : await deps.resources.find(db, parent.resourceId);
  if (parent === undefined || resource === undefined) throw ended();
  const policyEpoch = await policies.refresh();
  const chain = await readAncestors(deps, parent);
  const approvals = await inheritedApprovals(deps, chain, agent);
  const durationSeconds = Math.ceil((wanted.notAfter.getTime() - now.getTime()) / 1000);
  const { scopes, authorizationDetails } = wanted;
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
  const holders = chain.map(({ agentId }) => agentId);
  return { parent, agent, resource, policyEpoch, facts, approvals, decision, durationSeconds, holders };
}

const ended = () => new BrokerError('invalid-subject-token', { detail: 'the grant of the token has ended' });

/** Reads the ancestors of a grant that is delegated from `parent`, the oldest first and `parent` last. */
async function readAncestors({ db }: RequestsDeps, parent: StoredGrant): Promise<StoredGrant[]> {
  const chain: StoredGrant[] = [];
  for (const id of parent.ancestors) {
    const grant = await findGrant(db, id);
    if (grant === undefined) throw ended();
    chain.push(grant);
  }
  return [...chain, parent];
}

/** Counts the ancestors' approvals by people who are approvers now and control none of the agents. */
async function inheritedApprovals(
  deps: RequestsDeps,
  chain: readonly StoredGrant[],
  agent: Agent,
): Promise<ApprovalFacts> {
  const { db, agents, admins, clock } = deps;
  const controllers = await agents.controllersOf(db, agent.id, clock.now());
  for (const grant of chain)
    for (const controller of await controllersOf(deps, db, grant)) controllers.add(controller);
  const may = (await admins.listApprovers(db)).filter(({ id }) => !controllers.has(id));
  const ids = chain.map(({ id }) => id);
  const given = [...(await listApprovals(db, ids)).values()].flat();
  const byPerson = new Map(given.map((approval) => [approval.by, approval]));
  return countApprovals([...byPerson.values()], new Map(may.map(({ id, groups }) => [id, groups])));
}

interface Recording {
  act: Act<WorkloadAgent>;
  wanted: DelegationTerms;
  decided: Decided;
}

/** Makes the grant, or finds the one that the same exchange has made meanwhile. */
async function record(deps: RequestsDeps, tx: Tx, recording: Recording): Promise<string | Refusal> {
  const { act, wanted, decided } = recording;
  const { parent, agent, resource } = decided;
  if (!(await areSourcesActive(deps, tx, wanted)))
    return refuse('invalid-subject-token', { detail: 'it has ended' });
  const now = deps.clock.now();
  const { scopes, authorizationDetails, subjects } = wanted;
  const sought = { agentId: agent.id, subjects, scopes, authorizationDetails, now };
  const known = await store.findEarlierGrant(tx, sought);
  if (known?.status === 'revoked')
    return refuse('invalid-subject-token', { detail: 'the grant delegated for it was revoked' });
  if (known !== undefined) return known.id;
  const of = { agentId: agent.id, resourceId: resource.id, delegated: true, now };
  const refusal = await refuseOverLimit(tx, of);
  if (refusal !== undefined) return refusal;
  const period = periodOf(recording, now);
  if (period === undefined) return refuse('invalid-subject-token', { detail: 'the token expires too soon' });
  const id = deps.ids.next('grant');
  await insert(tx, { ...recording, id, now, period });
  const details = { parent_id: parent.id, delegation: wanted.delegation, scopes };
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

/** Whether the ancestors are active and the subject tokens not revoked. Locks them until the transaction ends. */
async function areSourcesActive(
  { clock }: RequestsDeps,
  tx: Tx,
  { parentId, subjects }: DelegationTerms,
): Promise<boolean> {
  const known = await findGrant(tx, parentId);
  if (known === undefined || !(await store.lockAncestors(tx, [...known.ancestors, parentId]))) return false;
  const parent = await findGrant(tx, parentId);
  if (parent === undefined || effectiveStatus(parent, clock.now()) !== 'active') return false;
  return store.lockTokens(tx, subjects);
}

/** Returns the period, which ends with the token, the parent or the agent; undefined if it would be empty. */
function periodOf({ wanted, decided }: Recording, now: Date): ReturnType<typeof grantPeriod> | undefined {
  const { parent, agent, durationSeconds } = decided;
  const { startsAt, expiresAt } = grantPeriod({
    decidedAt: now,
    durationSeconds,
    agentExpiresAt: agent.expiresAt,
  });
  const above = [parent.expiresAt ?? now, parent.agentExpiresAt ?? expiresAt];
  const ends = [expiresAt, wanted.notAfter, ...above].map((end) => end.getTime());
  const end = Math.min(...ends);
  return end <= now.getTime() ? undefined : { startsAt, expiresAt: new Date(end) };
}

interface Insertion extends Recording {
  id: string;
  now: Date;
  period: ReturnType<typeof grantPeriod>;
}

async function insert(tx: Tx, { id, now, period, wanted, decided }: Insertion): Promise<void> {
  const { parent, agent, resource, durationSeconds, approvals } = decided;
  const { scopes, authorizationDetails, delegation, subjects } = wanted;
  const reason = `delegated from ${parent.id}`;
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
    derivation: {
      ancestors: [...parent.ancestors, parent.id],
      delegation,
      subjects,
      approvals,
    },
  });
}

async function recordDenial(
  deps: RequestsDeps,
  tx: Tx,
  { act, wanted, decided }: Recording,
): Promise<Refusal> {
  const { decision, policies, errors } = decided.decision;
  const code = decision === 'error' ? 'policy-error' : 'policy-denied';
  const { parentId, scopes, delegation } = wanted;
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
