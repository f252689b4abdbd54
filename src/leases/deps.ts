import type { Audit } from '../audit/audit.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Random } from '../platform/random.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { ConnectionsService } from '../resources/connections/service.ts';
import type { ResourcesService } from '../resources/service.ts';
import type { Outages } from './outages.ts';

/** What making, reading and ending leases depends on. */
export interface LeasesDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  random: Random;
  policies: Pick<PoliciesService, 'refresh' | 'engine'>;
  resources: Pick<ResourcesService, 'lockShared'>;
  connections: Pick<ConnectionsService, 'find' | 'open' | 'installationId' | 'fenceOf'>;
  /** The targets at which this replica could make no account, apart from those at which it could end none. */
  creationOutages: Outages;
  /** Called when an engine's call failed, for the log. */
  onTargetFailure: (failure: { connectionId: string; leaseId?: string; error: unknown }) => void;
}
