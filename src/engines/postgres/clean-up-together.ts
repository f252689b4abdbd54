import type { CleanUp } from '../engine.ts';
import type { Session } from './connections.ts';
import { changeTogether } from './disable-together.ts';

interface Candidate {
  name: string;
  /** The name as a quoted identifier. */
  quoted: string;
  /** Whether the role is disabled and nothing in any database depends on it, so that it can be dropped at once. */
  isBare: boolean;
}

/** The membership of the admin account, which ends with the role, is the only one that a bare role may have. */
const findCandidates = `
  select r.rolname as name, format('%I', r.rolname) as quoted,
         not r.rolcanlogin
         and not exists (select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = r.oid)
         and not exists (select from pg_prepared_xacts where owner = r.rolname)
         and not exists (select from pg_auth_members m
                          where r.oid in (m.roleid, m.member, m.grantor)
                            and not (m.roleid = r.oid and m.member = a.oid)) as "isBare"
    from pg_roles r, pg_roles a
   where r.rolname = any($1) and a.rolname = session_user`;

/**
 * Does what `cleanUp` does for many roles, with three messages in all.
 *
 * @returns the roles that are gone; the others must be cleaned up alone
 */
export async function cleanUpTogether(
  session: Session,
  names: readonly string[],
): Promise<Map<string, CleanUp>> {
  const { rows } = await session.query<Candidate>(findCandidates, [names]);
  const bare = rows.filter(({ isBare }) => isBare);
  // A session of another account can lock a role by granting it something, and must not delay the others.
  await changeTogether(session, bare, ({ quoted }) => [`drop role if exists ${quoted}`]);
  const left = await session.query<{ name: string }>(
    'select rolname as name from pg_roles where rolname = any($1)',
    [names],
  );
  const remaining = new Set(left.rows.map(({ name }) => name));
  const gone = names.filter((name) => !remaining.has(name));
  return new Map(gone.map((name) => [name, { isGone: true, ownedObjects: [] }]));
}
