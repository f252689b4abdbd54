import type { Session } from './connections.ts';
import { hasMembershipOptions, joinStatement, type Role } from './role.ts';

/** Where the privileges on one kind of object are, and how a statement names such an object. */
interface ObjectKind {
  catalog: string;
  acl: string;
  /** An expression over `o`, a row of the catalog. */
  name: string;
  /** The catalog in pg_shdepend, if it is another one. */
  dependency?: string;
  /** The column with the id in pg_shdepend; `oid` if absent. */
  id?: string;
  since?: number;
}

const relation = (id: string): string =>
  `case (select relkind from pg_class where oid = ${id}) when 'S' then 'sequence ' else 'table ' end || ${id}::regclass`;

/** Every kind of object on which PostgreSQL records privileges, except default privileges. */
const objectKinds: readonly ObjectKind[] = [
  { catalog: 'pg_class', acl: 'relacl', name: relation('o.oid') },
  // REVOKE on a table also revokes the privileges on its columns.
  {
    catalog: 'pg_attribute',
    acl: 'attacl',
    name: relation('o.attrelid'),
    dependency: 'pg_class',
    id: 'attrelid',
  },
  { catalog: 'pg_proc', acl: 'proacl', name: `'routine ' || o.oid::regprocedure` },
  { catalog: 'pg_namespace', acl: 'nspacl', name: `'schema ' || quote_ident(o.nspname)` },
  { catalog: 'pg_type', acl: 'typacl', name: `'type ' || o.oid::regtype` },
  { catalog: 'pg_database', acl: 'datacl', name: `'database ' || quote_ident(o.datname)` },
  { catalog: 'pg_tablespace', acl: 'spcacl', name: `'tablespace ' || quote_ident(o.spcname)` },
  { catalog: 'pg_language', acl: 'lanacl', name: `'language ' || quote_ident(o.lanname)` },
  {
    catalog: 'pg_foreign_data_wrapper',
    acl: 'fdwacl',
    name: `'foreign data wrapper ' || quote_ident(o.fdwname)`,
  },
  { catalog: 'pg_foreign_server', acl: 'srvacl', name: `'foreign server ' || quote_ident(o.srvname)` },
  {
    catalog: 'pg_largeobject_metadata',
    acl: 'lomacl',
    name: `'large object ' || o.oid`,
    dependency: 'pg_largeobject',
  },
  { catalog: 'pg_parameter_acl', acl: 'paracl', name: `'parameter ' || o.parname`, since: 15 },
];

/** `$1` is the id of the role, `$2` its name as a quoted identifier. */
function revocationsOf({ catalog, acl, name, dependency = catalog, id = 'oid' }: ObjectKind): string {
  return `
    select a.grantor, 'revoke all on ' || ${name} || ' from ' || $2 || ' cascade' as statement
      from pg_shdepend d
      join ${catalog} o on o.${id} = d.objid
     cross join aclexplode(o.${acl}) a
     where d.refclassid = 'pg_authid'::regclass and d.refobjid = $1 and d.deptype = 'a'
       and d.classid = '${dependency}'::regclass and d.dbid in (0, here.oid)
       and a.grantee = $1 and a.grantor <> $1`;
}

const defaultPrivileges = `
    select o.defaclrole as grantor,
           'alter default privileges for role ' || o.defaclrole::regrole
           || coalesce(' in schema ' || nullif(o.defaclnamespace, 0)::regnamespace, '') || ' revoke all on '
           || case o.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions'
                                   when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end
           || ' from ' || $2 as statement
      from pg_default_acl o
     cross join aclexplode(o.defaclacl) a
     where a.grantee = $1 and o.defaclrole <> $1`;

/** Roles that own tables with a row security policy about the role, which only the owner may change. */
const policyOwners = `
    select c.relowner as grantor, null as statement
      from pg_shdepend d
      join pg_policy p on p.oid = d.objid
      join pg_class c on c.oid = p.polrelid
     where d.refclassid = 'pg_authid'::regclass and d.refobjid = $1 and d.deptype = 'r'
       and d.classid = 'pg_policy'::regclass and d.dbid = here.oid`;

/** What one role has granted to the account. */
export interface GrantorShare {
  /** The grantor as a quoted identifier. */
  grantor: string;
  /** The statements by which the grantor revokes it. */
  statements: string[];
  /** Whether the admin account may act as the grantor already, may become a member of it, or neither. */
  access: 'member' | 'can-join' | 'none';
}

/** Finds the privileges of a role on objects of others, in the current database and outside of databases. */
export async function findPrivileges(session: Session, role: Role): Promise<GrantorShare[]> {
  const kinds = objectKinds.filter(({ since = 0 }) => role.major >= since);
  const selects = [...kinds.map(revocationsOf), defaultPrivileges, policyOwners];
  const withOptions = hasMembershipOptions(role);
  const isMember = `pg_has_role(session_user, g.oid, '${withOptions ? 'SET' : 'MEMBER'}')`;
  const canJoin = withOptions
    ? `pg_has_role(session_user, g.oid, 'MEMBER WITH ADMIN OPTION')`
    : 'not g.rolsuper';
  const { rows } = await session.query<GrantorShare>(
    `with here as (select oid from pg_database where datname = current_database()),
          found as (select f.grantor, f.statement from here cross join lateral (${selects.join(' union ')}) f)
     select format('%I', g.rolname) as grantor,
            coalesce(array_agg(f.statement order by f.statement) filter (where f.statement is not null), '{}') as statements,
            case when ${isMember} then 'member' when ${canJoin} then 'can-join' else 'none' end as access
       from found f join pg_roles g on g.oid = f.grantor
      group by g.oid, g.rolname, g.rolsuper`,
    [role.oid, role.quoted],
  );
  return rows;
}

/**
 * Returns the statements that revoke the privileges of a role, and what remains in `unreachable`. Each grantor can revoke only
 * what it has granted, so the admin account becomes a member of grantors and acts as them; `leave` ends these memberships.
 * All statements belong in one transaction, so that no other session ever sees the memberships.
 */
export function planRevocation(role: Role, shares: readonly GrantorShare[]) {
  const reachable = shares.filter(({ access }) => access !== 'none');
  const joined = reachable.filter(({ access }) => access === 'can-join');
  return {
    revoke: [
      ...joined.map(({ grantor }) => joinStatement(grantor, role)),
      ...reachable.flatMap(({ grantor, statements }) =>
        statements.length === 0 ? [] : [`set local role ${grantor}`, ...statements, 'set local role none'],
      ),
    ],
    leave: joined.map(({ grantor }) => `revoke ${grantor} from ${role.admin}`),
    unreachable: shares.filter(({ access, statements }) => access === 'none' && statements.length > 0),
  };
}
