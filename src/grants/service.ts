import type { Act, Caller, Person, WorkloadAgent } from '../caller.ts';
import type { Tx } from '../db/database.ts';
import { takePage } from '../db/page.ts';
import { BrokerError } from '../errors.ts';
import { addSeconds } from '../platform/clock.ts';
import { createTurnstile } from '../platform/turnstile.ts';
import { listApprovals } from './approvals/store.ts';
import { delegateGrant, type HandingDown } from './delegation/delegate.ts';
import type { GrantsDeps } from './deps.ts';
import { type EndingKind, endGrant, endGrantsGotWith } from './ending.ts';
import {
  type Approval,
  changeStamp,
  effectiveStatus,
  entityTag,
  type Grant,
  type GrantStatus,
  matchesTag,
  nextBoundary,
} from './grant.ts';
import { type Demand, type Demanded, demandGrant } from './on-demand.ts';
import { type GrantRequest, requestGrant } from './request.ts';
import { requestDigest } from './request-digest.ts';
import { type ApprovalRequest, approveGrant } from './review.ts';
import { type Simulation, type SimulationResult, simulate } from './simulate.ts';
import * as store from './store.ts';

/** A grant as it is at an instant. */
export interface GrantView {
  grant: store.StoredGrant;
  status: GrantStatus;
  /** What an approval would have to name now; what was last agreed once it is no longer pending. */
  requestDigest: string;
  approvals: Approval[];
  entityTag: string;
}

export interface WaitOptions {
  id: string;
  waitSeconds: number;
  /** The entity tag that the caller has; undefined: wait while it is undecided. */
  ifNoneMatch: string | undefined;
  signal: AbortSignal;
}

/**
 * Making a grant takes a connection for a whole decision and its record: so many are made at a time, one of each agent, that
 * those who end something never wait for all of the pool; and no more wait than are done in a second or two.
 */
const making = { atOnce: 4, maxWaiting: 128, maxWaitingOfOne: 64 };

export type GrantsService = ReturnType<typeof createGrantsService>;

/** Requests, their decisions, and how grants end. Whatever is shown is what holds at that instant. */
export function createGrantsService(deps: GrantsDeps) {
  const show = async (act: { caller: Caller }, id: string) => {
    const now = deps.clock.now();
    return view(deps, await findVisible(deps, act.caller, id), now);
  };
  const end = async (act: Act, ending: { kind: EndingKind; id: string; reason: string | undefined }) => {
    await endGrant(deps, act, ending);
    return show(act, ending.id);
  };
  const full = new BrokerError('overloaded', { retryAfterSeconds: 1 });
  const { pass } = createTurnstile({ ...making, full });
  return {
    /** Throws `overloaded`, as `demand` and `delegate` do, if too many wait. */
    async request(
      act: Act<WorkloadAgent>,
      asked: { request: GrantRequest; idempotencyKey: string | undefined },
    ): Promise<GrantView> {
      return show(act, await pass(act.caller.id, () => requestGrant(deps, act, asked)));
    },
    async approve(act: Act<Person>, id: string, request: ApprovalRequest): Promise<GrantView> {
      await approveGrant(deps, act, { id, request });
      return show(act, id);
    },
    /** A grant as a token request asks for it. */
    demand: (act: Act<WorkloadAgent>, demand: Demand): Promise<Demanded> =>
      pass(act.caller.id, () => demandGrant(deps, act, demand)),
    /** A grant that is handed down to the caller; its id. */
    delegate: (act: Act<WorkloadAgent>, handing: HandingDown): Promise<string> =>
      pass(act.caller.id, () => delegateGrant(deps, act, handing)),
    /** Ends what was got with a token that is revoked. */
    endGotWith: (tx: Tx, act: Act, { jti, at }: { jti: string; at: Date }): Promise<void> =>
      endGrantsGotWith(deps, tx, { act, jti, at }),
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

/** An agent sees its own grants, whoever has a role all, an owner those of their agents. */
function isVisible(caller: Caller, grant: Grant): boolean {
  if (caller.kind === 'agent') return grant.agentId === caller.id;
  return caller.roles.length > 0 || grant.ownerId === caller.id;
}

async function findVisible({ db }: GrantsDeps, caller: Caller, id: string): Promise<store.StoredGrant> {
  const grant = await store.findGrant(db, id);
  if (grant === undefined || !isVisible(caller, grant)) throw new BrokerError('not-found');
  return grant;
}

function present(grant: store.StoredGrant, approvals: Approval[], now: Date): GrantView {
  const status = effectiveStatus(grant, now);
  const digest = status === 'pending' ? requestDigest(grant, grant.catalogue) : grant.requestDigest;
  return { grant, status, requestDigest: digest, approvals, entityTag: entityTag(grant, now) };
}

/**
 * The grant as it was at `now`, an instant before it was read: by a later one its time might have come in the meantime, though
 * somebody had ended it otherwise before that.
 */
async function view({ db }: GrantsDeps, grant: store.StoredGrant, now: Date): Promise<GrantView> {
  const approvals = await listApprovals(db, [grant.id]);
  return present(grant, approvals.get(grant.id) ?? [], now);
}

async function list(
  { db, clock }: GrantsDeps,
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
  return { items: items.map((grant) => present(grant, approvals.get(grant.id) ?? [], now)), more };
}

function isDue(grant: Grant, now: Date, ifNoneMatch: string | undefined): boolean {
  if (ifNoneMatch !== undefined) return !matchesTag(ifNoneMatch, entityTag(grant, now));
  const status = effectiveStatus(grant, now);
  return status !== 'pending' && status !== 'scheduled';
}

/**
 * The grant, once it is decided or differs from what the caller has, or when the time is over. Between looks nothing is
 * held: no connection, no transaction.
 */
async function wait(deps: GrantsDeps, caller: Caller, options: WaitOptions): Promise<GrantView> {
  const { clock, watch } = deps;
  const { id, ifNoneMatch, signal } = options;
  const until = addSeconds(clock.now(), options.waitSeconds);
  for (;;) {
    const now = clock.now();
    const grant = await findVisible(deps, caller, id);
    const leftMs = until.getTime() - now.getTime();
    if (leftMs <= 0 || watch.ended || signal.aborted || isDue(grant, now, ifNoneMatch))
      return view(deps, grant, now);
    const boundary = nextBoundary(grant, now)?.getTime() ?? Number.POSITIVE_INFINITY;
    const timeoutMs = Math.min(leftMs, boundary - now.getTime());
    await watch.wait({ id, stamp: changeStamp(grant), timeoutMs, signal });
  }
}
