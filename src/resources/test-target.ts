import type { Audit } from '../audit/audit.ts';
import { type Actor, byAct, systemActor } from '../audit/audit-event.ts';
import type { Act, Origin, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { ConnectionsService } from './connections/service.ts';
import { mappingsOf, type PreflightResult, type Resource } from './resource.ts';
import * as store from './store/read.ts';
import { recordPreflight } from './store/write.ts';

export interface TestTargetDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  connections: Pick<ConnectionsService, 'test'>;
}

/** How old a test may be before the worker repeats it: a day, less the time in which the daily job runs. */
const repeatSeconds = 23 * 3_600;
/** The same for a test that failed, a minute less that time: the target may only have been restarted, and has no new leases meanwhile. */
const repeatFailedSeconds = 55;

/** Tests the target of a resource for an admin. Throws `not-found`; also if the resource has no connection. */
export async function testTarget(
  deps: TestTargetDeps,
  act: Act<Person>,
  id: string,
): Promise<PreflightResult> {
  const resource = await store.findResource(deps.db, id);
  if (resource === undefined) throw new BrokerError('not-found');
  return test(deps, resource, byAct(act));
}

/**
 * Tests the targets that were not tested for a day, or whose last test failed. Returns how many. If a test cannot be
 * made, tests the others, and then throws its error.
 */
export async function testDueTargets(
  deps: TestTargetDeps,
  fence: (tx: Tx) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  const { db, clock } = deps;
  await withTransaction(db, fence);
  const now = clock.now();
  const due = {
    before: addSeconds(now, -repeatSeconds),
    failedBefore: addSeconds(now, -repeatFailedSeconds),
  };
  let tested = 0;
  const errors: unknown[] = [];
  for (const resource of await store.listUntested(db, due)) {
    if (signal.aborted) break;
    try {
      await test(deps, resource, { actor: systemActor('test-targets') });
      tested += 1;
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return tested;
}

async function test(
  { db, audit, clock, connections }: TestTargetDeps,
  { id, scopes, connection, preflight }: Resource,
  by: { actor: Actor; origin?: Origin },
): Promise<PreflightResult> {
  if (connection === null) throw new BrokerError('not-found', { detail: 'the resource has no connection' });
  const problems = await connections.test(id, mappingsOf(scopes));
  const at = clock.now();
  const wasReady = preflight === null || preflight.problems.length === 0;
  const isReady = problems.length === 0;
  await withTransaction(db, async (tx) => {
    const isCurrent = await recordPreflight(tx, { id, connectionId: connection.id, at, problems });
    // What a person does is always recorded; a job records only a change.
    if (!isCurrent || (wasReady === isReady && by.origin === undefined)) return;
    const type = isReady ? ('preflight.passed' as const) : ('preflight.failed' as const);
    const details = { connection_id: connection.id, problems: problems.map(({ problem }) => problem) };
    await audit.append(tx, { ...by, type, objectId: id, details });
  });
  return { at, problems };
}
