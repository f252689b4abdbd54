import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { collectCoverage } from './contract-coverage.ts';
import { makeTemplates, type Templates } from './templates.ts';
import { startTestServer, type TestServer } from './test-server.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The data with which every test file makes its own database from a template. */
    server: {
      adminUrl: string;
      copyClause: string;
      templates: Templates;
      ownerRole: string;
      applicationRole: string;
      password: string;
    };
  }
}

/** Starts one server for the run and makes two template databases; each test file copies one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The quick suite alone has to cover the whole contract.
  const checkCoverage = project.name === 'quick' ? collectCoverage(project) : async () => {};
  const server = await startTestServer();
  try {
    const drop = await prepareServer(project, server);
    return async () => {
      await drop();
      await server.stop();
      await checkCoverage();
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Makes roles and templates and provides them to the tests; the returned function drops all databases and roles. */
async function prepareServer(
  project: TestProject,
  { adminUrl, copyClause }: TestServer,
): Promise<() => Promise<void>> {
  const suffix = randomBytes(4).toString('hex');
  const provided = {
    adminUrl,
    copyClause,
    templates: { empty: `hallpass_empty_${suffix}`, started: `hallpass_started_${suffix}` },
    ownerRole: `hallpass_owner_${suffix}`,
    applicationRole: `hallpass_app_${suffix}`,
    password: randomBytes(16).toString('hex'),
  };
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  await admin.query(`create role ${provided.ownerRole} login password '${provided.password}'`);
  await admin.query(`create role ${provided.applicationRole} login password '${provided.password}'`);
  await makeTemplates(admin, provided);
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
  };
}
