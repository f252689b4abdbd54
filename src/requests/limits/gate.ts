import type { Tx } from '../../db/database.ts';
import { type Refusal, refuse } from '../../errors.ts';
import { maxDelegatedGrants, maxOpenGrants } from '../../grants/grant.ts';
import { countOpenGrants, type OpenGrantsOf } from './store.ts';

/**
 * Checks the limits before any new grant is inserted: returns `too-many-grants` if the agent may have no more grants.
 * Invariant: the requests of the agent are queued (`queueRequest`), so that concurrent ones cannot exceed a limit.
 */
export async function refuseOverLimit(tx: Tx, of: OpenGrantsOf): Promise<Refusal | undefined> {
  if (!(await isOverLimit(tx, of))) return undefined;
  if (!of.delegated) {
    return refuse('too-many-grants', { detail: 'return unneeded grants, or wait until they expire' });
  }
  const detail = 'wait until delegated grants expire';
  return refuse('too-many-grants', { detail, retryAfterSeconds: 60 });
}

async function isOverLimit(tx: Tx, of: OpenGrantsOf): Promise<boolean> {
  const most = of.delegated ? maxDelegatedGrants : maxOpenGrants;
  const isReached = async (exact: boolean): Promise<boolean> => {
    const open = await countOpenGrants(tx, of, { exact });
    return open.total >= most.total || open.forResource >= most.forResource;
  };
  // The exact count costs several look-ups for each grant, so it is made only where the quick one reaches the limit.
  return (await isReached(false)) && isReached(true);
}
