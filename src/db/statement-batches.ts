import { BrokerError } from '../errors.ts';
import { isOutage } from './sqlstate.ts';

/** How batches of rows fail that are statements in the broker's own database. */
export const statementBatches = {
  isOutage,
  overloaded: new BrokerError('overloaded', { retryAfterSeconds: 1 }),
};
