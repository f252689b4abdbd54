import type { Engine } from '../engine.ts';
import { mappingProblem } from './permissions.ts';
import { openTarget } from './target.ts';

/** Makes users of RabbitMQ 3.10.8 and newer through the HTTP API of its management plugin. */
export const rabbitmq: Engine = {
  fence: 'none',
  defaultPort: 15672,
  endpointPort: { verify: 5671, off: 5672 },
  mappingProblem,
  open: openTarget,
};
