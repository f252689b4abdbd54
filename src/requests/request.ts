import { type Agent, agentStatus } from '../agents/agent.ts';
import { byAct } from '../audit/audit-event.ts';
import type { Detail } from '../authorization-details/details-type.ts';
import { assertDetailsSize } from '../authorization-details/size.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { BrokerError, type Refusal, refuse } from '../errors.ts';
import type { DecisionRequest } from '../grants/facts.ts';
import { grantPeriod, lapseTime } from '../grants/grant.ts';
import * as store from '../grants/grants.ts';
import { claimCall, describeCall, findEarlier, type IdempotentCall } from '../idempotency/idempotent-call.ts';
import type { DeniedResult, ProbeResult } from '../policies/decision.ts';
import type { Resource } from '../resources/resource.ts';
import { type Assessment, assess, denied, eligibleApprovers } from './assess.ts';
import { type DecidedAbout, decideAndRecord } from './decide-and-record.ts';
import type { RequestsDeps } from './deps.ts';
import { refuseOverLimit } from './limits/gate.ts';
import { requestDigest } from './request-digest.ts';

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
  /** The operation: the same idempotency key can be used in another one. */
  route?: string;
}

interface Decided extends Omit<Assessment, 'facts'> {
  facts: Assessment['facts'] | undefined;
  agent: Agent;
  resource: Resource | undefined;
  /** The epoch of the policies that decided. */
  policyEpoch: bigint | undefined;
}

/**
 * Decides a request and makes its grant, active or pending. Returns its id. Throws `agent-not-usable`,
 * `policy-denied` (with `hints`), `policy-error`, `no-eligible-approver`, `invalid-scope` and `invalid-request`
 * (only if the agent could get part of the resource), `too-many-grants`, `idempotency-key-reused`. Details
 * beyond the size limits are `invalid-authorization-details` for every resource, without an audit event.
 */
export async function requestGrant(
  deps: RequestsDeps,
  act: Act<WorkloadAgent>,
  { request, idempotencyKey, route = 'createGrant' }: Asking,
): Promise<string> {
  assertDetailsSize(request.authorizationDetails);
  const call =
    idempotencyKey === undefined
      ? undefined
      : describeCall({ caller: act.caller.id, route, key: idempotencyKey }, bodyOf(request));
  return decideAndRecord(deps, {
    decide: async () =>
      (call === undefined ? undefined : await findEarlier(deps.db, call, deps.clock.now())) ??
      decide(deps, act, request),
    permit: (tx, decided) => toPermitted(deps, tx, { act, request, decided }),
    otherAgents: () => [],
    record: (tx, permitted) => record(deps, tx, { act, request, call, permitted }),
  });
}

/** Returns what must be equal when a request is repeated with its idempotency key. */
function bodyOf({ resource, scopes, durationSeconds, reason, ticket, authorizationDetails }: GrantRequest) {
  const terms = [resource, scopes, durationSeconds, reason, ticket];
  // A request without details has the digest that versions without details computed for it.
  return authorizationDetails === null ? terms : [...terms, authorizationDetails];
}

async function decide(deps: RequestsDeps, act: Act<WorkloadAgent>, request: GrantRequest): Promise<Decided> {
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
  const terms = { ...request, hasTicket: request.ticket !== null };
  if (resource !== undefined)
    return { agent, resource, policyEpoch, ...assess({ ...setting, resource }, terms) };
  // The result is known. Deciding about a decoy takes the same time, so that timing does not reveal which exist.
  assess({ ...setting, resource: decoy(request, now) }, { ...terms, authorizationDetails: null });
  return { agent, resource, policyEpoch, facts: undefined, result: denied, hints: [], problem: undefined };
}

/** Makes a resource with all scopes and the duration of the request. */
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
    connection: null,
    upstream: null,
    preflight: null,
    epoch: 1,
    version: 1,
    createdAt: now,
    createdBy: 'decoy',
    updatedAt: now,
  };
}

/** Returns the permitted decision; otherwise records the denial and returns a refusal. */
async function toPermitted(
  deps: RequestsDeps,
  tx: Tx,
  { act, request, decided }: Denial,
): Promise<Permitted | Refusal> {
  const { agent, resource, policyEpoch, facts, problem, result } = decided;
  if (problem !== undefined) return refuse(problem.code, { detail: problem.detail });
  if (result.outcome === 'denied' || resource === undefined || facts === undefined) {
    return recordDenial(deps, tx, { act, request, decided });
  }
  return { agent, resource, policyEpoch, facts, result };
}

/** A request that policy permits at once or with approvals. */
interface Permitted extends DecidedAbout {
  facts: DecisionRequest;
  result: Exclude<ProbeResult, DeniedResult>;
}

interface Recording {
  act: Act<WorkloadAgent>;
  request: GrantRequest;
  call: IdempotentCall | undefined;
  permitted: Permitted;
}

/** Makes the grant; undefined if another call with the same idempotency key has made one. */
async function record(
  deps: RequestsDeps,
  tx: Tx,
  recording: Recording,
): Promise<string | undefined | Refusal> {
  const { call, permitted } = recording;
  const now = deps.clock.now();
  const of = { agentId: permitted.agent.id, resourceId: permitted.resource.id, delegated: false, now };
  const refusal = await refuseOverLimit(tx, of);
  if (refusal !== undefined) return refusal;
  const id = deps.ids.next('grant');
  if (call !== undefined && !(await claimCall(tx, call, { objectId: id, now }))) return undefined;
  await insert(deps, tx, { ...recording, id, now });
  return id;
}

interface Insertion extends Recording {
  id: string;
  now: Date;
}

/** Makes the grant, active or pending, with its events. */
async function insert(deps: RequestsDeps, tx: Tx, insertion: Insertion): Promise<void> {
  const { act, request, id, now } = insertion;
  const { agent, resource, facts, result } = insertion.permitted;
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

interface Denial {
  act: Act<WorkloadAgent>;
  request: GrantRequest;
  decided: Decided;
}

async function recordDenial(deps: RequestsDeps, tx: Tx, { act, request, decided }: Denial): Promise<Refusal> {
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
