import { createRoleMappings } from '../role-mappings.ts';

/** NAMEDATALEN - 1: PostgreSQL cuts a longer name, which would then be the name of another role. */
const maxNameBytes = 63;

export const { mappingProblem, rolesOf } = createRoleMappings({
  kind: 'postgres',
  rule: `the name of a role has 1 to ${maxNameBytes} bytes and no control characters`,
  isValid: (name) => Buffer.byteLength(name) <= maxNameBytes,
});
