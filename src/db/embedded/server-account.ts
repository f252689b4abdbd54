import { stat } from 'node:fs/promises';
import { BrokerError } from '../../errors.ts';
import { type Account, chooseAccount, isRoot } from './run-as.ts';

/** How a server program is started on a cluster. */
export interface ClusterStart {
  /** Undefined: our own account. */
  account: Account | undefined;
  cwd: string;
  /** The value of `-D`. */
  pgdata: string;
}

/**
 * How to start programs on `cluster` (PGDATA).
 *
 * As an ordinary user this is plain. As root the programs run as an unprivileged account, and that account cannot
 * reach the cluster by its path: the directory above is root's alone, as is the home it may lie in. The data does not
 * move elsewhere for that (who deletes, mounts or backs up HALLPASS_DATA_DIR means the data). Instead the
 * cluster, which belongs to the account, is made the working directory while we are still root, and PGDATA is
 * `/proc/self/cwd`: Linux follows that link to the directory itself, not along a path (proc(5)). Postgres changes into
 * PGDATA and stays there, so the link keeps its meaning for every process of the server. Elsewhere than on
 * Linux, root is refused (`unavailable`).
 *
 * @param owner who runs it where the cluster is new; an existing cluster belongs to whom it belongs to.
 */
export function clusterStart(cluster: string, owner: Account | undefined): ClusterStart {
  if (!isRoot()) return { account: undefined, cwd: cluster, pgdata: cluster };
  if (process.platform !== 'linux') {
    throw new BrokerError('unavailable', {
      detail:
        'as root the embedded Postgres runs on Linux only: start as an ordinary user or set DATABASE_URL',
    });
  }
  return { account: owner, cwd: cluster, pgdata: '/proc/self/cwd' };
}

/** The account of an existing cluster (as root; undefined otherwise), or the one chosen for a new one. */
export async function accountOfCluster(cluster: string): Promise<Account | undefined> {
  const owner = isRoot() ? await stat(cluster).catch(() => undefined) : undefined;
  if (owner === undefined || owner.uid === 0) return chooseAccount();
  return { uid: owner.uid, gid: owner.gid };
}
