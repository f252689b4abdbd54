import { sql } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Envelope } from '../crypto/envelope.ts';
import type { Db } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import type { KeysService } from '../keys/service.ts';
import { createLeaseEnder } from '../leases/ender.ts';
import { createOutages } from '../leases/outages.ts';
import { createLeasesService } from '../leases/service.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { PasswordRotation } from '../resources/connections/rotation.ts';
import { type ConnectionsService, createConnectionsService } from '../resources/connections/service.ts';
import { createTargets } from '../resources/connections/targets.ts';
import { createPreflightsService, type PreflightsService } from '../resources/preflights/service.ts';
import type { ResourcesService } from '../resources/service.ts';
import type { UpstreamsService } from '../resources/upstreams/service.ts';
import type { Fence } from '../worker/job.ts';
import type { Base } from './base.ts';

/** Creates the services that reach targets, below those of resources. */
export function createTargetServices(base: Base, { envelope }: { envelope: Envelope }) {
  const { db, clock, random, ids, createSocket, engines, allowOwnDatabase } = base;
  const targets = createTargets({ envelope, createSocket, engines, clock, random });
  const isOwnDatabase = async (id: string) => !allowOwnDatabase && id === (await readSystemIdentifier(db));
  const preflights = createPreflightsService({ db, clock, random, targets, isOwnDatabase });
  const connections = createConnectionsService({ db, clock, ids, envelope, targets, engines, preflights });
  return { targets, preflights, connections };
}

/** Reads the name of the database's cluster, as the engine for PostgreSQL reads that of a target. */
async function readSystemIdentifier(db: Db): Promise<string | undefined> {
  const { rows } = await sql<{
    id: string;
  }>`select system_identifier::text as id from pg_control_system()`.execute(db);
  return rows[0]?.id;
}

interface LowerServices {
  passwordRotation: PasswordRotation;
  audit: Audit;
  policies: PoliciesService;
  resources: ResourcesService;
  connections: ConnectionsService;
  upstreams: UpstreamsService;
  preflights: PreflightsService;
  keys: KeysService;
}

/** Creates the services of leases, and the jobs that need services of several features. */
export function createLeaseServices(base: Base, lower: LowerServices) {
  const { db, clock, ids, random, log } = base;
  const { audit, policies, resources, connections, preflights, keys, passwordRotation, upstreams } = lower;
  const deps = {
    ...{ db, audit, clock, ids, random, policies, resources, connections },
    creationOutages: createOutages(clock),
    onTargetFailure: (failure: { connectionId: string; leaseId?: string; error: unknown }) =>
      log.warn('a call to a target failed; it is retried', {
        connection_id: failure.connectionId,
        lease_id: failure.leaseId,
        err: failure.error,
      }),
  };
  const leases = createLeasesService(deps);
  return {
    leases,
    leaseEnder: createLeaseEnder({
      ...deps,
      db: base.ending.db,
      onError: (error) => log.error('leases could not be ended; it is retried', { err: error }),
    }),
    targetJobs: {
      reconcile: async (fence: Fence, signal: AbortSignal) => {
        await withTransaction(db, fence);
        return leases.reconcileAll(signal);
      },
      testDue: resources.testDueTargets,
      rotatePasswords: passwordRotation.rotateDue,
      cleanUp: async (fence: Fence, signal: AbortSignal) =>
        (await preflights.destroyLeft(fence, signal)) + (await connections.deleteUnused(fence)),
    },
    rotation: {
      rotateDue: async (fence: Fence) =>
        (await keys.rotateDue(fence)) + (await connections.reseal(fence)) + (await upstreams.reseal(fence)),
    },
  };
}
