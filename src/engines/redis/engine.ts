import type { Engine } from '../engine.ts';
import { mappingProblem } from './rules.ts';
import { openTarget } from './target.ts';

/** Makes users in Redis 7 and in servers with the same access control lists. */
export const redis: Engine = {
  fence: 'none',
  defaultPort: 6379,
  mappingProblem,
  open: openTarget,
};
