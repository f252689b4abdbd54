import { existsSync } from 'node:fs';
import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { isLeftOut } from '../interop/software.ts';
import { rabbitmqServer } from '../support/rabbitmq-node.ts';
import { testAdmin } from './rabbitmq-admin-cases.ts';
import { testEnding } from './rabbitmq-ending-cases.ts';
import { prepareRabbitmq, type RabbitmqSubject } from './rabbitmq-subject.ts';

const isMissing = isLeftOut('rabbitmq-server', existsSync(rabbitmqServer));

describe.skipIf(isMissing)('RabbitMQ', () => {
  // One node for all, because it takes seconds to start.
  let subject: Promise<RabbitmqSubject> | undefined;
  const start = (): Promise<RabbitmqSubject> => {
    subject ??= prepareRabbitmq();
    return subject;
  };
  testContract('RabbitMQ', start);
  testEnding(start);
  testAdmin(start);
});
