#!/usr/bin/env node
import { recoverAdmin } from './admins/bootstrap.ts';
import { createAudit } from './audit/audit.ts';
import { continueAuditOrder } from './audit/store.ts';
import { type EndAllDeps, type Extent, endAll } from './compose/end-all.ts';
import { ConfigError, readConfig } from './config.ts';
import { type Database, openDatabase } from './db/database.ts';
import { migrate } from './db/migrate.ts';
import { ensurePartitions } from './db/partitions.ts';
import { startEmbeddedServer } from './embedded/embedded-server.ts';
import { BrokerError } from './errors.ts';
import { addSeconds, systemClock as clock } from './platform/clock.ts';
import { createIds, type Ids } from './platform/ids.ts';
import { createLog, type Log } from './platform/log.ts';
import { createSystemRandom, type Random } from './platform/random.ts';

const usage = `usage: hallpass migrate                  migrate the database of DATABASE_OWNER_URL to this version
       hallpass admin recover <e-mail>  give a person the role admin and a new key, valid for one day
       hallpass end-all                 end every grant, request and token; agents must request again
       hallpass end-all --credentials   and revoke the credentials of all clients and people`;

function open(url: string, log: Log): Database {
  return openDatabase({
    url,
    log,
    maxConnections: 1,
    applicationName: 'hallpass cli',
    statementTimeoutMs: 0,
  });
}

/** Migrates as the owner. The application role is the user of DATABASE_URL. */
async function runMigrate(log: Log): Promise<string> {
  const { databaseOwnerUrl, databaseUrl } = readConfig();
  if (databaseOwnerUrl === undefined) throw new ConfigError('DATABASE_OWNER_URL', 'is missing');
  if (databaseUrl === undefined)
    throw new ConfigError('DATABASE_URL', 'is missing (it names the application role)');
  const owner = open(databaseOwnerUrl, log);
  try {
    const applied = await migrate(owner.db, decodeURIComponent(new URL(databaseUrl).username));
    return applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`;
  } finally {
    await owner.close();
  }
}

interface Opened extends EndAllDeps {
  random: Random;
  ids: Ids;
}

/**
 * Runs `work` as the application role, after the audit log was prepared. If the broker uses an embedded server, it
 * must be stopped first.
 */
async function withBrokerDatabase(log: Log, work: (opened: Opened) => Promise<string>): Promise<string> {
  const { databaseUrl, dataDirectory } = readConfig();
  const random = createSystemRandom();
  const embedded =
    databaseUrl === undefined
      ? await startEmbeddedServer({ dataDir: dataDirectory, clock, log, random })
      : undefined;
  const { db, close } = open(databaseUrl ?? embedded?.applicationUrl ?? '', log);
  try {
    const ids = createIds(clock, random);
    await ensurePartitions(db, clock.now(), addSeconds(clock.now(), 24 * 3600));
    await continueAuditOrder(db);
    return await work({ db, audit: createAudit({ clock, ids }), clock, random, ids });
  } finally {
    await close();
    await embedded?.stop();
  }
}

/** Requires access to the database but no admin key, because the last one may be lost. */
function runRecover(email: string, log: Log): Promise<string> {
  return withBrokerDatabase(log, async (opened) => {
    const issued = await recoverAdmin(opened, email);
    return `${issued.key}\nvalid until ${issued.expiresAt.toISOString()}, shown only once`;
  });
}

function runEndAll(extent: Extent, log: Log): Promise<string> {
  return withBrokerDatabase(log, async (opened) => {
    const { agents, clientSecrets, adminKeys, subjectIssuers } = await endAll(opened, extent);
    const ended = `ended every grant, request and token of ${agents} agents`;
    if (extent === 'grants') return ended;
    const credentials = `${clientSecrets} credentials of clients and ${adminKeys} admin keys`;
    const trust = `trust in ${subjectIssuers} subject token issuers was withdrawn`;
    return `${ended}, ${credentials}; ${trust}; next: hallpass admin recover <e-mail>`;
  });
}

async function dispatch(words: string[], log: Log): Promise<string | undefined> {
  const [command, action, email] = words;
  if (command === 'migrate' && words.length === 1) return runMigrate(log);
  if (command === 'end-all' && words.length === 1) return runEndAll('grants', log);
  if (command === 'end-all' && action === '--credentials' && words.length === 2) {
    return runEndAll('credentials', log);
  }
  if (command === 'admin' && action === 'recover' && email !== undefined && words.length === 3) {
    return runRecover(email, log);
  }
  return undefined;
}

function describe(error: unknown): string {
  if (error instanceof BrokerError) return error.detail ?? error.entry.title;
  return error instanceof Error ? error.message : String(error);
}

const log = createLog('warn');
try {
  const answer = await dispatch(process.argv.slice(2), log);
  process.stdout.write(`${answer ?? usage}\n`);
  process.exitCode = answer === undefined ? 2 : 0;
} catch (error) {
  process.stderr.write(`hallpass: ${describe(error)}\n`);
  process.exitCode = 1;
}
