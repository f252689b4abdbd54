import { isCleanText } from '../platform/text.ts';
import type { Mapping } from './mapping.ts';
import { TargetFailure } from './target-failure.ts';

const maxRoles = 20;

export interface RoleNames {
  /** The kind of engine, for messages. */
  kind: string;
  /** What the name of a role must be, as a sentence without a full stop. */
  rule: string;
  /** Whether a clean, non-empty name obeys the rule. */
  isValid: (name: string) => boolean;
}

/** Reads mappings of the form `{roles: [...]}` for an engine. */
export interface RoleMappings {
  /** Returns what is wrong with a mapping; undefined if it may be right. Whether its roles exist, only the target knows. */
  mappingProblem: (mapping: Mapping) => string | undefined;
  /** Returns the roles of all mappings, each once. Throws `refused` for a mapping that the engine does not have. */
  rolesOf: (mappings: readonly Mapping[]) => string[];
}

export function createRoleMappings({ kind, rule, isValid }: RoleNames): RoleMappings {
  const isGood = (role: string): boolean => role !== '' && isCleanText(role) && isValid(role);
  const mappingProblem = (mapping: Mapping): string | undefined => {
    if (!('roles' in mapping)) return `a scope of a ${kind} resource maps to roles`;
    const { roles } = mapping;
    if (roles.length === 0 || roles.length > maxRoles) return `roles needs 1 to ${maxRoles} names`;
    return roles.every(isGood) ? undefined : rule;
  };
  return {
    mappingProblem,
    rolesOf(mappings) {
      const roles = mappings.flatMap((mapping) => {
        const problem = mappingProblem(mapping);
        if (problem !== undefined || !('roles' in mapping)) throw new TargetFailure('refused', problem ?? '');
        return mapping.roles;
      });
      if (roles.length === 0) throw new TargetFailure('refused', 'an account needs at least one role');
      return [...new Set(roles)];
    },
  };
}
