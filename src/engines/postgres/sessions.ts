import type { Session } from './connections.ts';
import { sqlState, sqlStateOf } from './failure.ts';
import type { Role } from './role.ts';

/**
 * Lists server processes in which a login has begun but is not finished. Before PostgreSQL 18, pg_stat_activity does not show
 * them, although the server has already checked that the role may log in: a client can prolong that state by half an hour with
 * the option post_auth_delay. They hold the lock of their first transaction.
 */
export const startingLogins = `
  select l.pid
    from pg_locks l
   where l.locktype = 'virtualxid' and l.pid <> pg_backend_pid()
     and not exists (select from pg_stat_activity a
                      where a.pid = l.pid and (a.usesysid is not null or a.datid is not null))`;

/**
 * Asks the server to end every session of a role, and every login of the role that is not finished. Becomes the role for that,
 * of which the admin account must be a member: no role may end sessions of others, so a process that belongs to another role is
 * refused and stays.
 *
 * @returns the processes that were asked to end
 */
export async function terminateSessions(session: Session, role: Role): Promise<number[]> {
  await session.query(`set role ${role.quoted}`);
  try {
    const { rows } = await session.query<{ pid: number }>(
      'select pid, pg_terminate_backend(pid) from pg_stat_activity where usesysid = $1',
      [role.oid],
    );
    const ended = rows.map(({ pid }) => pid);
    const starting = await session.query<{ pid: number }>(startingLogins);
    for (const { pid } of starting.rows) {
      if (await terminateOwn(session, pid)) ended.push(pid);
    }
    return ended;
  } finally {
    await session.query('reset role');
  }
}

/** Ends a process if it belongs to the current role. Returns false for a process of another role, and one that has ended. */
async function terminateOwn(session: Session, pid: number): Promise<boolean> {
  try {
    const { rows } = await session.query<{ done: boolean }>('select pg_terminate_backend($1) as done', [pid]);
    return rows[0]?.done === true;
  } catch (error) {
    if (sqlStateOf(error) === sqlState.insufficientPrivilege) return false;
    throw error;
  }
}
