import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createLog } from '../../src/platform/log.ts';
import { collectCoverage } from './contract-coverage.ts';
import { startTestServer } from './test-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** What every test file needs to make a database of its own from the migrated template. */
    server: {
      adminUrl: string;
      template: string;
      ownerRole: string;
      applicationRole: string;
      password: string;
    };
  }
}

/** One server for the run, one migrated template database; each test file clones it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const checkCoverage = collectCoverage(project);
  const server = await startTestServer();
  const suffix = randomBytes(4).toString('hex');
  const provided = {
    adminUrl: server.adminUrl,
    template: `hallpass_template_${suffix}`,
    ownerRole: `hallpass_owner_${suffix}`,
    applicationRole: `hallpass_app_${suffix}`,
    password: randomBytes(16).toString('hex'),
  };
  const admin = new pg.Client({ connectionString: server.adminUrl });
  await admin.connect();
  await admin.query(`create role ${provided.ownerRole} login password '${provided.password}'`);
  await admin.query(`create role ${provided.applicationRole} login password '${provided.password}'`);
  await admin.query(`create database ${provided.template} owner ${provided.ownerRole}`);
  await migrateTemplate(provided);
  project.provide('server', provided);
  return async () => {
    const left = await admin.query<{ datname: string }>(
      'select datname from pg_database where pg_get_userbyid(datdba) = $1',
      [provided.ownerRole],
    );
    for (const { datname } of left.rows) await admin.query(`drop database ${datname} with (force)`);
    await admin.query(`drop role ${provided.applicationRole}`);
    await admin.query(`drop role ${provided.ownerRole}`);
    await admin.end();
    await server.stop();
    await checkCoverage();
  };
}

async function migrateTemplate(provided: {
  adminUrl: string;
  template: string;
  ownerRole: string;
  applicationRole: string;
  password: string;
}): Promise<void> {
  const url = new URL(provided.adminUrl);
  url.username = provided.ownerRole;
  url.password = provided.password;
  url.pathname = `/${provided.template}`;
  const owner = openDatabase({
    url: url.href,
    log: createLog('warn'),
    maxConnections: 1,
    applicationName: 'hallpass-test-template',
  });
  await migrate(owner.db, provided.applicationRole);
  // The fake clock starts on 2026-03-02; tests that move it further make their own partitions.
  await owner.pool.query("select ensure_partitions('2026-03-01T00:00:00Z', '2026-04-10T00:00:00Z')");
  await owner.close();
}
