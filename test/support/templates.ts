import type pg from 'pg';
import { compose } from '../../src/compose.ts';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { ensurePartitionsAhead } from '../../src/db/partitions.ts';
import { createLog } from '../../src/platform/log.ts';
import { FakeClock } from './fake-clock.ts';
import { testConfig } from './test-config.ts';

/** The databases from which those of the test files are copied. */
export interface Templates {
  /** A migrated database that no broker has used. */
  empty: string;
  /** The state after the first start of a test broker: signing keys, default policy and the person `bootstrap`. */
  started: string;
}

interface Server {
  adminUrl: string;
  templates: Templates;
  ownerRole: string;
  applicationRole: string;
  password: string;
}

/** Returns the start time of the broker of the template `started`: the initial time of a `FakeClock`. */
export function templateStart(): Date {
  return new FakeClock().now();
}

/** Makes both templates. `admin` must be a connection of a superuser. */
export async function makeTemplates(admin: pg.Client, server: Server): Promise<void> {
  const { templates, ownerRole } = server;
  await admin.query(`create database ${templates.empty} owner ${ownerRole}`);
  await migrateTemplate(server);
  await admin.query(`create database ${templates.started} template ${templates.empty} owner ${ownerRole}`);
  const config = testConfig(urlOf(server, { role: server.applicationRole, database: templates.started }));
  const broker = await compose(config, { clock: new FakeClock(), log: createLog('warn') });
  await broker.close();
}

function urlOf(server: Server, { role, database }: { role: string; database: string }): string {
  const url = new URL(server.adminUrl);
  url.username = role;
  url.password = server.password;
  url.pathname = `/${database}`;
  return url.href;
}

async function migrateTemplate(server: Server): Promise<void> {
  const owner = openDatabase({
    url: urlOf(server, { role: server.ownerRole, database: server.templates.empty }),
    log: createLog('warn'),
    maxConnections: 1,
    applicationName: 'hallpass-test-template',
  });
  await migrate(owner.db, server.applicationRole);
  // Makes only the partitions that a broker makes when it starts, because they are copied for every test file. Tests
  // that need more make them themselves.
  await ensurePartitionsAhead(owner.db, templateStart());
  await owner.close();
}
