import type { Engine } from '../engine.ts';
import { mappingProblem } from './mapped-roles.ts';
import { openTarget } from './target.ts';

/** Makes logins in PostgreSQL 14 and newer. */
export const postgres: Engine = {
  fence: 'valid_until',
  defaultPort: 5432,
  mappingProblem,
  open: openTarget,
};
