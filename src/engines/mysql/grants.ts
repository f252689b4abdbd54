import type { Session } from './connections.ts';

/** What an account or a role has on all databases, or on one database. */
export interface Grant {
  /** Keywords in upper case; `ALL PRIVILEGES` is one. */
  privileges: readonly string[];
  hasGrantOption: boolean;
}

/**
 * Returns what a row of SHOW GRANTS says about an object, such as `*.*`; undefined for other rows. No view lists the global privileges
 * of roles, and the bits of mysql.global_priv mean different things in different versions.
 */
export function parseGrant(row: string, object: string): Grant | undefined {
  const on = ` ON ${object} TO `;
  const start = row.indexOf(on);
  const list = /^GRANT ([A-Z_ ,]+)$/.exec(row.slice(0, Math.max(0, start)))?.[1];
  if (list === undefined) return undefined;
  const privileges = list.split(', ').filter((privilege) => privilege !== 'USAGE');
  return { privileges, hasGrantOption: / WITH .*GRANT OPTION/.test(row.slice(start)) };
}

/** Reads the rows of SHOW GRANTS: of the account of the session, or of a role with those of its roles. */
export async function showGrants(session: Session, quotedRole?: string): Promise<string[]> {
  const rows = await session.query<Record<string, string>>(
    quotedRole === undefined ? 'show grants' : `show grants for ${quotedRole}`,
  );
  return rows.flatMap((row) => Object.values(row));
}
