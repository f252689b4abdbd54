import type { Act, Caller, Person, WorkloadAgent } from '../caller.ts';
import { takePage } from '../db/page.ts';
import { BrokerError } from '../errors.ts';
import { endGrantByDecision, type GrantAction } from '../grants/endings/end-by-decision.ts';
import { type Approval, changeStamp, entityTag, type Grant, matchesTag } from '../grants/grant.ts';
import * as store from '../grants/grants.ts';
import { effectiveStatus, nextBoundary } from '../grants/liveness.ts';
import type { GrantStatus } from '../grants/states.ts';
import { addSeconds } from '../platform/clock.ts';
import { createKeyedQueue } from '../platform/keyed-queue.ts';
import { listApprovals } from './approvals/store.ts';
import { type DelegationTerms, delegateGrant } from './delegation/delegate.ts';
import type { RequestsDeps } from './deps.ts';
import { type Demand, type Demanded, demandGrant } from './on-demand.ts';
import { type GrantRequest, requestGrant } from './request.ts';
import { requestDigest } from './request-digest.ts';
import { type ApprovalRequest, approveGrant } from './review.ts';
import { type Simulation, type SimulationResult, simulate } from './simulate.ts';

/** A grant and its effective status at an instant. */
export interface GrantView {
  grant: store.StoredGrant;
  status: GrantStatus;
  /** The digest that an approval must name now. For a grant that is not pending, the digest of the last decided terms. */
  requestDigest: string;
  approvals: Approval[];
  entityTag: string;
}

export interface WaitOptions {
  id: string;
  waitSeconds: number;
  /** The `If-None-Match` field; if undefined, the wait ends when the grant is neither pending nor scheduled. */
  ifNoneMatch: string | undefined;
  signal: AbortSignal;
}

/**
 * How many grants may be made at a time, at most one for each agent, and how many requests may
 * wait. Making a grant takes a connection for the whole decision and its audit event. The
 * limits leave connections of the pool to revocation, and keep the wait within a second or two.
 */
const making = { atOnce: 4, maxWaiting: 128, maxWaitingOfOne: 64 };

export type RequestsService = ReturnType<typeof createRequestsService>;

/**
 * Creates the operations on grants: requesting, deciding, ending and reading them. Each result shows a grant as it was
 * at one instant.
 */
export function createRequestsService(deps: RequestsDeps) {
  const show = async (act: { caller: Caller }, id: string) => {
    const now = deps.clock.now();
    return view(deps, await findVisible(deps, act.caller, id), now);
  };
  const end = async (act: Act, action: { kind: GrantAction; id: string; reason: string | undefined }) => {
    await endGrantByDecision(deps, act, action);
    deps.watch.changed(action.id);
    return show(act, action.id);
  };
  const full = new BrokerError('overloaded', { retryAfterSeconds: 1 });
  const { run } = createKeyedQueue({ ...making, full });
  return {
    /** Requests a grant. Throws `overloaded`, as `demand` and `delegate` do, if the queue is full. */
    async request(
      act: Act<WorkloadAgent>,
      creation: { request: GrantRequest; idempotencyKey: string | undefined },
    ): Promise<GrantView> {
      return show(act, await run(act.caller.id, () => requestGrant(deps, act, creation)));
    },
    async approve(act: Act<Person>, id: string, request: ApprovalRequest): Promise<GrantView> {
      await approveGrant(deps, act, { id, request });
      return show(act, id);
    },
    /** Requests the grant that a token request lacks. */
    demand: (act: Act<WorkloadAgent>, demand: Demand): Promise<Demanded> =>
      run(act.caller.id, () => demandGrant(deps, act, demand)),
    /** Makes a grant that is delegated to the caller, or finds the one that the same exchange made before. Returns its id. */
    delegate: (act: Act<WorkloadAgent>, delegation: DelegationTerms): Promise<string> =>
      run(act.caller.id, () => delegateGrant(deps, act, delegation)),
    end,
    list: (caller: Caller, filter: ListFilter, page: ListPage) => list(deps, caller, { filter, page }),
    wait: (caller: Caller, options: WaitOptions) => wait(deps, caller, options),
    simulate: (simulation: Simulation): Promise<SimulationResult> => simulate(deps, simulation),
  };
}

type ListFilter = Omit<store.GrantFilter, 'ownerId'>;
interface ListPage {
  limit: number;
  before: string | undefined;
}

/**
 * Whether the caller may see a grant. An agent may see its own grants, a person with a role all, and an owner those
 * of their agents.
 */
function isVisible(caller: Caller, grant: Grant): boolean {
  if (caller.kind === 'agent') return grant.agentId === caller.id;
  return caller.roles.length > 0 || grant.ownerId === caller.id;
}

async function findVisible({ db }: RequestsDeps, caller: Caller, id: string): Promise<store.StoredGrant> {
  const grant = await store.findGrant(db, id);
  if (grant === undefined || !isVisible(caller, grant)) throw new BrokerError('not-found');
  return grant;
}

function toView(grant: store.StoredGrant, approvals: Approval[], now: Date): GrantView {
  const status = effectiveStatus(grant, now);
  const digest = status === 'pending' ? requestDigest(grant, grant.catalogue) : grant.requestDigest;
  return { grant, status, requestDigest: digest, approvals, entityTag: entityTag(grant, now) };
}

/**
 * Returns the grant as of `now`, which must precede the read of the grant. With a later instant, a grant that was
 * revoked after the read and before its expiry would be shown as expired.
 */
async function view({ db }: RequestsDeps, grant: store.StoredGrant, now: Date): Promise<GrantView> {
  const approvals = await listApprovals(db, [grant.id]);
  return toView(grant, approvals.get(grant.id) ?? [], now);
}

async function list(
  { db, clock }: RequestsDeps,
  caller: Caller,
  { filter, page }: { filter: ListFilter; page: ListPage },
) {
  const now = clock.now();
  if (caller.kind === 'agent' && filter.agentId !== undefined && filter.agentId !== caller.id) {
    return { items: [], more: false };
  }
  const scope =
    caller.kind === 'agent' ? { agentId: caller.id } : caller.roles.length > 0 ? {} : { ownerId: caller.id };
  const rows = await store.listGrants(db, { ...filter, ...scope }, { ...page, limit: page.limit + 1, now });
  const { items, more } = takePage(rows, page.limit);
  const approvals = await listApprovals(
    db,
    items.map((grant) => grant.id),
  );
  return { items: items.map((grant) => toView(grant, approvals.get(grant.id) ?? [], now)), more };
}

function mustAnswer(grant: Grant, now: Date, ifNoneMatch: string | undefined): boolean {
  if (ifNoneMatch !== undefined) return !matchesTag(ifNoneMatch, entityTag(grant, now));
  const status = effectiveStatus(grant, now);
  return status !== 'pending' && status !== 'scheduled';
}

/**
 * Returns the grant when it is decided or differs from the caller's entity tag,
 * or at the timeout. Between its reads it holds no connection and no transaction.
 */
async function wait(deps: RequestsDeps, caller: Caller, options: WaitOptions): Promise<GrantView> {
  const { clock, watch } = deps;
  const { id, ifNoneMatch, signal } = options;
  const until = addSeconds(clock.now(), options.waitSeconds);
  const watcher = watch.watch(id);
  try {
    for (;;) {
      const now = clock.now();
      const grant = await findVisible(deps, caller, id);
      const leftMs = until.getTime() - now.getTime();
      if (leftMs <= 0 || watch.ended || signal.aborted || mustAnswer(grant, now, ifNoneMatch))
        return await view(deps, grant, now);
      const boundary = nextBoundary(grant, now)?.getTime() ?? Number.POSITIVE_INFINITY;
      const timeoutMs = Math.min(leftMs, boundary - now.getTime());
      await watcher.wait({ stamp: changeStamp(grant), timeoutMs, signal });
    }
  } finally {
    watcher.stop();
  }
}
