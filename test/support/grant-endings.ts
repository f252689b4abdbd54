import type { Db } from '../../src/db/database.ts';
import { createGrantEndings, type GrantEndings } from '../../src/grants/endings/endings.ts';
import type { Clock } from '../../src/platform/clock.ts';
import type { Ids } from '../../src/platform/ids.ts';

/** Creates grant endings for tests of a single service. An error while grants are settled fails the test. */
export function grantEndingsOn(deps: { db: Db; clock: Clock; ids: Ids }): GrantEndings {
  return createGrantEndings({
    ...deps,
    onError(error) {
      throw error;
    },
  });
}
