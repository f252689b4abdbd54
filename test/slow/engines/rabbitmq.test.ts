import { describe } from 'vitest';
import { testContract } from '../../engines/contract.ts';
import { isRabbitmqMissing } from '../support/rabbitmq-node.ts';
import { testAdmin } from './rabbitmq-admin-cases.ts';
import { testEnding } from './rabbitmq-ending-cases.ts';
import { prepareRabbitmq, type RabbitmqSubject } from './rabbitmq-subject.ts';

describe.skipIf(isRabbitmqMissing)('RabbitMQ', () => {
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
