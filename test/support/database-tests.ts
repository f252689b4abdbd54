import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The tests whose result may depend on the version of PostgreSQL: locks, plans, partitions, roles, backups. */
const places = [
  'test/db',
  'test/audit',
  'test/feeds',
  'test/grants',
  'test/leases/faults.test.ts',
  'test/leases/races.test.ts',
  'test/leases/reconcile.test.ts',
  'test/leases/states.test.ts',
  'test/replay',
  'test/trusted-issuers',
  'test/worker',
  'test/client-auth/dpop',
  'test/tokens/activity-plan.test.ts',
  'test/tokens/crash.test.ts',
  'test/tokens/endings.test.ts',
  'test/tokens/revocation.test.ts',
  'test/oauth/token-exchange/ending-events.test.ts',
  'test/oauth/token-exchange/exchange-endings.test.ts',
  'test/slow/overload/exchanges.test.ts',
  'test/slow/races',
  'test/slow/operations/restore.test.ts',
];

/** Prints these places. Throws if one does not exist: a moved test must not be left out unnoticed. */
const root = join(import.meta.dirname, '../..');
const missing = places.filter((place) => !existsSync(join(root, place)));
if (missing.length > 0) throw new Error(`no tests at ${missing.join(', ')}`);
process.stdout.write(places.join(' '));
