import { existsSync } from 'node:fs';
import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { isLeftOut } from '../interop/software.ts';
import { rabbitmqServer } from '../support/rabbitmq-node.ts';
import { prepareRabbitmq } from './rabbitmq-subject.ts';

const isMissing = isLeftOut('rabbitmq-server', existsSync(rabbitmqServer));

describe.skipIf(isMissing)('RabbitMQ', () => {
  testContract('RabbitMQ', () => prepareRabbitmq());
});
