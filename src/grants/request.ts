import { type Agent, agentStatus } from '../agents/agent.ts';
import { byAct } from '../audit/audit-event.ts';
import type { Detail } from '../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import { equalDigests, sha256 } from '../crypto/hash.ts';
import type { Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, type Refusal, refuse } from '../errors.ts';
import { claimCall, findCall, type IdempotentCall } from '../idempotency/store.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import type { DeniedResult, ProbeResult } from '../policies/decision.ts';
import type { DecisionRequest } from '../policies/facts.ts';
import type { Resource } from '../resources/resource.ts';
import { type Assessment, assess, denied, eligibleApprovers } from './assess.ts';
import type { GrantsDeps } from './deps.ts';
import { grantPeriod, lapseTime, maxHandedDown, maxOpenGrants } from './grant.ts';
import { countOpenGrants, type OpenGrantsOf, queueRequest } from './open/store.ts';
import { requestDigest } from './request-digest.ts';
import * as store from './store.ts';

export interface GrantRequest {
  resource: string;
  scopes: string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
  authorizationDetails: Detail[] | null;
}

export interface Asking {
  request: GrantRequest;
  idempotencyKey: string | undefined;
  /** Where it is asked: keys of one route are not those of another. */
  route?: string;
}

interface Decided extends Omit<Assessment, 'facts'> {
  facts: Assessment['facts'] | undefined;
  agent: Agent;
  resource: Resource | undefined;
  /** Of the policies that decided. */
  policyEpoch: bigint | undefined;
}

const maxAttempts = 3;

/**
 * Decides a request and makes its grant, active or pending; answers its id. Refusals: `agent-not-usable`,
 * `policy-denied` (with `hints`), `policy-error`, `no-eligible-approver`, `invalid-scope` and `invalid-request` (only
 * where the agent could have some of the resource), `too-many-grants`, `idempotency-key-reused`.
 */
export async function requestGrant(
  deps: GrantsDeps,
  act: Act<WorkloadAgent>,
  { request, idempotencyKey, route = 'createGrant' }: Asking,
): Promise<string> {
  const call =
    idempotencyKey === undefined ? undefined : describeCall(act, request, { route, key: idempotencyKey });
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const earlier = call === undefined ? undefined : await findEarlier(deps, call);
    if (earlier !== undefined) return earlier;
    const decided = await decide(deps, act, request);
    const id = await withTransaction(deps.db, (tx) => record(deps, tx, { act, request, call, decided }));
    // Agent, resource or key changed hands meanwhile: what was decided is about something else.
    if (id !== undefined) return id;
  }
  throw new BrokerError('unavailable', { retryAfterSeconds: 1, internal: 'a request kept being overtaken' });
}

function describeCall(
  act: Act<WorkloadAgent>,
  request: GrantRequest,
  { route, key }: { route: string; key: string },
): IdempotentCall {
  const { resource, scopes, durationSeconds, reason, ticket, authorizationDetails } = request;
  const terms = [resource, scopes, durationSeconds, reason, ticket];
  // Whoever repeats a request that an older version has seen means the same one.
  const body = authorizationDetails === null ? terms : [...terms, authorizationDetails];
  const bodyHash = sha256(canonicalJson(body));
  return { caller: act.caller.id, route, key, bodyHash };
}

async function findEarlier({ db, clock }: GrantsDeps, call: IdempotentCall): Promise<string | undefined> {
  const earlier = await findCall(db, call, clock.now());
  if (earlier === undefined) return undefined;
  if (!equalDigests(earlier.bodyHash, call.bodyHash)) throw new BrokerError('idempotency-key-reused');
  return earlier.objectId;
}

/** Everything that needs time to think about, before a transaction is open. */
async function decide(deps: GrantsDeps, act: Act<WorkloadAgent>, request: GrantRequest): Promise<Decided> {
  const { db, agents, resources, policies, clock } = deps;
  const now = clock.now();
  const agent = await agents.find(db, act.caller.id);
  if (agent === undefined || agentStatus(agent, now) !== 'enabled') throw new BrokerError('agent-not-usable');
  const resource = await resources.findByIdentifier(db, request.resource);
  const policyEpoch = await policies.refresh();
  const setting = {
    engine: policies.engine,
    details: deps.details,
    agent,
    eligible: await eligibleApprovers(deps, db, agent.id),
    circumstances: { now, address: act.origin.address, authMethod: act.caller.authMethod },
  };
  const asked = { ...request, hasTicket: request.ticket !== null };
  if (resource !== undefined)
    return { agent, resource, policyEpoch, ...assess({ ...setting, resource }, asked) };
  // The answer is known; deciding about a decoy takes the time that a resource would, so that time tells nothing.
  assess({ ...setting, resource: decoy(request, now) }, { ...asked, authorizationDetails: null });
  return { agent, resource, policyEpoch, facts: undefined, result: denied, hints: [], problem: undefined };
}

/** A resource that has whatever is asked for. */
function decoy({ resource, scopes, durationSeconds }: GrantRequest, now: Date): Resource {
  return {
    id: 'decoy',
    identifier: resource,
    name: 'decoy',
    kind: 'api',
    labels: [],
    scopes: scopes.map((name) => ({ name, description: '', risk: 'high' })),
    maxGrantSeconds: durationSeconds,
    tokenTtlSeconds: 60,
    tokenAlg: 'ES256',
    requireBoundTokens: false,
    authorizationDetailsTypes: [],
    epoch: 1,
    version: 1,
    createdAt: now,
    createdBy: 'decoy',
    updatedAt: now,
  };
}

interface Recording {
  act: Act<WorkloadAgent>;
  request: GrantRequest;
  call: IdempotentCall | undefined;
  decided: Decided;
}

/** Writes the decision down; undefined if what was decided about has changed. */
async function record(deps: GrantsDeps, tx: Tx, recording: Recording): Promise<string | undefined | Refusal> {
  const { call, decided } = recording;
  const { agent, resource, facts, problem, result } = decided;
  if (problem !== undefined) return refuse(problem.code, { detail: problem.detail });
  if (result.outcome === 'denied' || resource === undefined || facts === undefined) {
    return recordDenial(deps, tx, recording);
  }
  const target = { resource, facts };
  await queueRequest(tx, [agent.id]);
  if (!(await stillHolds(deps, tx, { ...decided, resource }))) return undefined;
  const now = deps.clock.now();
  if (await isOverLimit(tx, { agentId: agent.id, resourceId: resource.id, handedDown: false, now })) {
    return refuse('too-many-grants', { detail: 'return what is not needed, or wait until it has expired' });
  }
  const id = deps.ids.next('grant');
  if (call !== undefined && !(await claimCall(tx, call, { objectId: id, now }))) return undefined;
  await insert(deps, tx, { ...recording, ...target, result, id, now });
  return id;
}

/** Whether the agent may have no grant more for the resource. Its requests are in the queue. */
export async function isOverLimit(tx: Tx, of: OpenGrantsOf): Promise<boolean> {
  const most = of.handedDown ? maxHandedDown : maxOpenGrants;
  const isReached = async (exact: boolean): Promise<boolean> => {
    const open = await countOpenGrants(tx, of, { exact });
    return open.total >= most.total || open.forResource >= most.forResource;
  };
  return (await isReached(false)) && isReached(true);
}

/** Whether agent and resource (from here on until the end of the transaction) and policies are what was decided about. */
export async function stillHolds(
  { agents, resources, policies }: GrantsDeps,
  tx: Tx,
  { agent, resource, policyEpoch }: { agent: Agent; resource: Resource; policyEpoch: bigint | undefined },
): Promise<boolean> {
  const lockedVersion = (await resources.lockShared(tx, resource.id))?.version;
  const agentVersion = (await agents.lockShared(tx, agent.id))?.version;
  if (lockedVersion !== resource.version || agentVersion !== agent.version) return false;
  return (await policies.refresh(tx)) === policyEpoch;
}

interface Insertion extends Recording {
  id: string;
  now: Date;
  resource: Resource;
  facts: DecisionRequest;
  result: Exclude<ProbeResult, DeniedResult>;
}

/** Makes the grant, active or pending, with its events. */
async function insert(deps: GrantsDeps, tx: Tx, insertion: Insertion): Promise<void> {
  const { act, request, decided, id, now, resource, facts, result } = insertion;
  const { agent } = decided;
  const timing = {
    decidedAt: now,
    durationSeconds: request.durationSeconds,
    agentExpiresAt: agent.expiresAt,
  };
  const period = result.outcome === 'permit' ? grantPeriod(timing) : undefined;
  const terms = { ...request, agentId: agent.id, resource: resource.identifier };
  await store.insertGrant(tx, {
    ...terms,
    id,
    resourceId: resource.id,
    requestDigest: requestDigest(terms, resource.scopes),
    approvalsRequired: result.outcome === 'pending' ? result.approvalsRequired : 0,
    policies: result.policies,
    ownerAtRequest: agent.owner,
    agentEpoch: agent.epoch,
    resourceEpoch: resource.epoch,
    requestedAt: now,
    lapsesAt: lapseTime(now),
    facts,
    period,
  });
  const event = { ...byAct(act), agentId: agent.id, grantId: id };
  const details = { ...describeRequest(request), outcome: result.outcome, policies: result.policies };
  await deps.audit.append(tx, { ...event, type: 'grant.requested', objectId: resource.id, details });
  if (period === undefined) return;
  const activated = { approvals: 0, policies: result.policies, expires_at: period.expiresAt };
  await deps.audit.append(tx, { ...event, type: 'grant.activated', details: activated });
}

function describeRequest({
  resource,
  scopes,
  durationSeconds,
  ticket,
  authorizationDetails,
}: GrantRequest): Record<string, unknown> {
  const details = authorizationDetails === null ? {} : { authorization_details: authorizationDetails };
  return { resource, scopes, duration_seconds: durationSeconds, ticket, ...details };
}

async function recordDenial(deps: GrantsDeps, tx: Tx, recording: Recording): Promise<Refusal> {
  const { act, request, decided } = recording;
  const { code, policies, errors } = decided.result.outcome === 'denied' ? decided.result : denied;
  await deps.audit.append(tx, {
    ...byAct(act),
    type: 'grant.denied_by_policy',
    outcome: 'denied',
    agentId: act.caller.id,
    objectId: decided.resource?.id ?? null,
    details: { ...describeRequest(request), code, policies, errors },
  });
  return refuse(code, { extensions: { hints: decided.hints }, recorded: true, internal: errors.join('; ') });
}
