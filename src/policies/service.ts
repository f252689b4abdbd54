import type { Audit } from '../audit/audit.ts';
import { byAct, systemActor } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { violates } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Random } from '../platform/random.ts';
import { assertValidPolicy, defaultPolicy, type Policy, policyDetails } from './policy.ts';
import { createPolicyLoader, type PolicyLoader } from './policy-loader.ts';
import * as store from './store.ts';

export interface PoliciesDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  random: Random;
}

export interface NewPolicy {
  name: string;
  cedar: string;
}

export interface PolicyChange {
  /** The new name; the name stays the same if absent. */
  name?: string | undefined;
  cedar: string;
  /** The version that the change replaces; undefined if the caller does not know it. */
  version?: number | undefined;
}

export type PoliciesService = ReturnType<typeof createPoliciesService>;

interface Context extends PoliciesDeps {
  loader: PolicyLoader;
}

/**
 * Creates the service for the policies. Every change makes a new version and an audit event. When the call returns,
 * this replica uses the changed policies; other replicas use them after their next `refresh`, which precedes every
 * decision.
 */
export function createPoliciesService(deps: PoliciesDeps) {
  const loader = createPolicyLoader(deps);
  const context = { ...deps, loader };
  return {
    engine: loader.engine,
    refresh: (db?: Db): Promise<bigint> => loader.refresh(db),
    ensureDefaultPolicy: () => ensureDefaultPolicy(context),
    create: (act: Act<Person>, policy: NewPolicy) => create(context, act, policy),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: PolicyChange) => update(context, act, { id, ...change }),
    remove: (act: Act<Person>, id: string) => remove(context, act, id),
  };
}

async function create(context: Context, act: Act<Person>, input: NewPolicy): Promise<Policy> {
  const { db, audit, clock, ids } = context;
  assertValidPolicy(input.cedar);
  const now = clock.now();
  const author = { version: 1, createdAt: now, updatedAt: now, updatedBy: act.caller.id };
  const policy: Policy = { id: ids.next('policy'), ...input, ...author };
  await withUniqueName(() =>
    withTransaction(db, async (tx) => {
      await store.raiseEpoch(tx, clock.now());
      await store.insertPolicy(tx, policy);
      const details = policyDetails(policy);
      await audit.append(tx, { ...byAct(act), type: 'policy.created', objectId: policy.id, details });
    }),
  );
  await refreshEngine(context);
  return policy;
}

async function list(
  { db }: PoliciesDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<Policy>> {
  return takePage(await store.listPolicies(db, { ...page, limit: page.limit + 1 }), page.limit);
}

async function get({ db }: PoliciesDeps, id: string): Promise<Policy> {
  const policy = await store.findPolicy(db, id);
  if (policy === undefined) throw new BrokerError('not-found');
  return policy;
}

async function update(
  context: Context,
  act: Act<Person>,
  { id, name, cedar, version }: PolicyChange & { id: string },
): Promise<Policy> {
  const { db, audit, clock } = context;
  assertValidPolicy(cedar);
  const policy = await withUniqueName(() =>
    withTransaction(db, async (tx) => {
      await store.raiseEpoch(tx, clock.now());
      const change = { id, name, cedar, replaces: version, at: clock.now(), by: act.caller.id };
      const replaced = await store.replacePolicy(tx, change);
      if (replaced === undefined) throw notReplaced(await store.findPolicy(tx, id));
      const details = policyDetails(replaced);
      await audit.append(tx, { ...byAct(act), type: 'policy.updated', objectId: id, details });
      return replaced;
    }),
  );
  await refreshEngine(context);
  return policy;
}

/**
 * Makes the error of a change that replaces nothing. It is thrown, not returned, so that the transaction is rolled back: a
 * raised epoch would make every replica load the policies again.
 */
function notReplaced(policy: Policy | undefined): BrokerError {
  if (policy === undefined) return new BrokerError('not-found');
  return new BrokerError('conflict', { detail: `the current version is ${policy.version}` });
}

async function remove(context: Context, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock } = context;
  await withTransaction(db, async (tx) => {
    await store.raiseEpoch(tx, clock.now());
    const policy = await store.findPolicy(tx, id);
    if (policy === undefined) throw notReplaced(policy);
    await store.deletePolicy(tx, { id, at: clock.now() });
    const details = policyDetails(policy);
    await audit.append(tx, { ...byAct(act), type: 'policy.deleted', objectId: id, details });
  });
  await refreshEngine(context);
}

/**
 * Creates the default policy, which requires one approval for everything, in a new installation. Returns whether it
 * did. A deleted policy counts: an admin who deletes every policy wants every request denied.
 */
async function ensureDefaultPolicy(context: Context): Promise<boolean> {
  const { db, audit, clock, ids } = context;
  const actor = systemActor('start');
  const isNew = await withTransaction(db, async (tx) => {
    if (await store.lockDefaultPolicy(tx)) return false;
    await store.raiseEpoch(tx, clock.now());
    const now = clock.now();
    const author = { version: 1, createdAt: now, updatedAt: now, updatedBy: actor.id };
    const policy: Policy = { id: ids.next('policy'), ...defaultPolicy, ...author };
    await store.insertPolicy(tx, policy);
    const details = policyDetails(policy);
    await audit.append(tx, { actor, type: 'policy.created', objectId: policy.id, details });
    return true;
  });
  await context.loader.refresh();
  return isNew;
}

/**
 * Loads the policies after a commit. Ignores a failure: the next decision refreshes again and reports it, while an
 * error here would make the caller repeat a change that is committed.
 */
async function refreshEngine({ loader }: Context): Promise<void> {
  await loader.refresh().catch(() => undefined);
}

async function withUniqueName<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (violates(error, 'policies_name')) throw new BrokerError('name-taken');
    throw error;
  }
}
