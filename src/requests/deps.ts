import type { AdminsService } from '../admins/service.ts';
import type { AgentsService } from '../agents/service.ts';
import type { Audit } from '../audit/audit.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import type { Db } from '../db/database.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { GrantWatch } from '../grants/watch.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Random } from '../platform/random.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { ResourcesService } from '../resources/service.ts';

/** The dependencies of requesting, approving, reading and ending grants. */
export interface RequestsDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  random: Random;
  admins: Pick<AdminsService, 'listApprovers'>;
  agents: Pick<AgentsService, 'find' | 'lockShared' | 'controllersOf'>;
  resources: Pick<ResourcesService, 'find' | 'findByIdentifier' | 'lockShared'>;
  policies: Pick<PoliciesService, 'refresh' | 'engine'>;
  details: DetailsRules;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
  watch: Pick<GrantWatch, 'watch' | 'changed' | 'ended'>;
}
