import type { Engine } from '../engine.ts';
import { mappingProblem } from './mapped-roles.ts';
import { openTarget } from './target.ts';

/** Makes accounts in MariaDB 10.6 and newer. */
export const mysql: Engine = {
  // PASSWORD EXPIRE counts in days, and a client with an expired password may log in to set another.
  fence: 'none',
  defaultPort: 3306,
  mappingProblem,
  open: openTarget,
};
