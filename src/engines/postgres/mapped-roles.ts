import { isCleanText } from '../../platform/text.ts';
import type { Mapping } from '../mapping.ts';
import { TargetFailure } from '../target-failure.ts';

const maxRoles = 20;
/** NAMEDATALEN - 1: PostgreSQL cuts a longer name, which would then be the name of another role. */
const maxNameBytes = 63;

/** Returns what is wrong with a mapping; undefined if it may be right. Whether its roles exist, only the target knows. */
export function mappingProblem(mapping: Mapping): string | undefined {
  if (!('roles' in mapping)) return 'a scope of a postgres resource maps to roles';
  const { roles } = mapping;
  if (roles.length === 0 || roles.length > maxRoles) return `roles needs 1 to ${maxRoles} names`;
  const hasBadName = roles.some(
    (role) => role === '' || Buffer.byteLength(role) > maxNameBytes || !isCleanText(role),
  );
  return hasBadName
    ? `the name of a role has 1 to ${maxNameBytes} bytes and no control characters`
    : undefined;
}

/** Returns the roles of all mappings, each once. Throws `refused` for a mapping that this engine does not have. */
export function rolesOf(mappings: readonly Mapping[]): string[] {
  const roles = mappings.flatMap((mapping) => {
    const problem = mappingProblem(mapping);
    if (problem !== undefined || !('roles' in mapping)) throw new TargetFailure('refused', problem ?? '');
    return mapping.roles;
  });
  if (roles.length === 0) throw new TargetFailure('refused', 'an account needs at least one role');
  return [...new Set(roles)];
}
