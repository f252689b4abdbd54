import type { AdminsService } from '../admins/service.ts';
import type { AgentsService } from '../agents/service.ts';
import type { Audit } from '../audit/store.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import type { Db } from '../db/database.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Random } from '../platform/random.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { ResourcesService } from '../resources/service.ts';
import type { GrantWatch } from './watch.ts';

/** What the use cases of grants need. */
export interface GrantsDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  random: Random;
  admins: Pick<AdminsService, 'listApprovers'>;
  agents: Pick<AgentsService, 'find' | 'lockShared' | 'controllersOf'>;
  resources: Pick<ResourcesService, 'find' | 'findByIdentifier' | 'lockShared'>;
  policies: Pick<PoliciesService, 'refresh' | 'engine'>;
  /** What details of a request may be. */
  details: DetailsRules;
  watch: Pick<GrantWatch, 'wait' | 'changed' | 'ended'>;
}
