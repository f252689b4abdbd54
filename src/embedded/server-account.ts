import { stat } from 'node:fs/promises';
import { BrokerError } from '../errors.ts';
import { type Account, chooseAccount, isRoot } from './run-as.ts';

/** The account and the paths with which a server program is started on a cluster. */
export interface ClusterStart {
  /** Undefined for the current account. */
  account: Account | undefined;
  cwd: string;
  /** The value of `-D`. */
  pgdata: string;
}

/**
 * Returns how to start programs on `cluster` (PGDATA).
 *
 * For an ordinary user the path is used as it is. As root the programs run as an unprivileged account,
 * which cannot reach the cluster by its path: the directory above belongs to root alone, and so may the
 * home around it. The data stays there, because an operator who deletes, mounts or backs up
 * HALLPASS_DATA_DIR expects it there. Instead the cluster, which belongs to the account, becomes the
 * working directory while the process is still root, and PGDATA is `/proc/self/cwd`: Linux follows that
 * link to the directory itself, not along a path (proc(5)). Postgres changes into PGDATA and stays there,
 * so the link works for every process of the server. On other systems, throws `unavailable` for root.
 *
 * @param owner the account for the programs, as `accountOfCluster` returns it; ignored unless root
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

/** Returns the account of an existing cluster (as root; otherwise undefined), or the one chosen for a new one. */
export async function accountOfCluster(cluster: string): Promise<Account | undefined> {
  const owner = isRoot() ? await stat(cluster).catch(() => undefined) : undefined;
  if (owner === undefined || owner.uid === 0) return chooseAccount();
  return { uid: owner.uid, gid: owner.gid };
}
