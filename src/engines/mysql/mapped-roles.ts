import { createRoleMappings } from '../role-mappings.ts';

const maxNameLength = 128;
/** Words that MariaDB reads as something else than the name of a role, also in quotes. */
const reserved = /^(none|public|current_role|current_user)$/i;

export const { mappingProblem, rolesOf } = createRoleMappings({
  kind: 'mysql',
  rule: `the name of a role has 1 to ${maxNameLength} characters, none of them control characters, no space at an end, and is no reserved word`,
  // MariaDB removes spaces at the end of a name, which would then be the name of another role.
  isValid: (name) => [...name].length <= maxNameLength && name === name.trim() && !reserved.test(name),
});
