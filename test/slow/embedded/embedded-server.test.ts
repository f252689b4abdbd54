import { readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AdministeredServer, openEmbeddedServer } from '../../../src/embedded/embedded-server.ts';
import { findPostmaster } from '../../../src/embedded/postmaster.ts';
import { type Clock, systemClock } from '../../../src/platform/clock.ts';
import { createLog } from '../../../src/platform/log.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { postmasterPid, query, temporaryDataDir } from './broker-process.ts';

const common = { clock: systemClock, log: createLog('silent'), random: createSystemRandom() };
const onLinux = process.platform === 'linux';
const asRoot = process.geteuid?.() === 0;

describe('the embedded server', () => {
  let temporary: Awaited<ReturnType<typeof temporaryDataDir>>;
  let dataDir: string;
  let server: AdministeredServer;

  beforeAll(async () => {
    temporary = await temporaryDataDir();
    dataDir = join(temporary.path, 'data-dir');
    process.env.HALLPASS_CANARY = 'canary-secret';
    server = await openEmbeddedServer({ ...common, dataDir });
  });
  afterAll(async () => {
    delete process.env.HALLPASS_CANARY;
    await server.stop();
    await temporary.remove();
  });

  test('creates everything at the first start', async () => {
    expect(server.firstStart).toBe(true);
    const [row] = await query(
      server.ownerUrl,
      `select current_user as login, pg_get_userbyid(datdba) as owner, pg_encoding_to_char(encoding) as encoding,
              lower('ÄÖ') as lowered from pg_database where datname = current_database()`,
    );
    expect(row).toEqual({
      login: 'hallpass_owner',
      owner: 'hallpass_owner',
      encoding: 'UTF8',
      lowered: 'äö',
    });
  });

  test('commits durably, with checksums', async () => {
    const rows = await query(
      server.adminUrl,
      `select name, setting from pg_settings
        where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums') order by name`,
    );
    expect(rows.map((row) => row.setting)).toEqual(['on', 'on', 'on', 'on']);
  });

  test('listens only on the loopback interface', async () => {
    const rows = await query(
      server.adminUrl,
      `select setting from pg_settings where name in ('listen_addresses', 'unix_socket_directories') order by name`,
    );
    expect(rows.map((row) => row.setting)).toEqual(['127.0.0.1', '']);
  });

  test('the application login has no privileges of its own', async () => {
    const [row] = await query(
      server.applicationUrl,
      `select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
              (select count(*)::int from pg_auth_members where member = r.oid) as memberships
         from pg_roles r where rolname = current_user`,
    );
    expect(row).toEqual({
      rolsuper: false,
      rolcreatedb: false,
      rolcreaterole: false,
      rolreplication: false,
      rolbypassrls: false,
      memberships: 0,
    });
  });

  test.each([
    'create table mine (id int)',
    'create temporary table mine (id int)',
    'create schema mine',
    'create role mine',
    'create database mine',
    'alter role hallpass_app superuser',
    `select pg_read_file('postgresql.conf')`,
  ])('refuses the application login: %s', async (sql) => {
    await expect(query(server.applicationUrl, sql)).rejects.toMatchObject({ code: '42501' });
  });

  test.each(['postgres', 'template1'])('neither login may connect to %s', async (database) => {
    const elsewhere = (url: string): string => url.replace('/hallpass?', `/${database}?`);
    await expect(query(elsewhere(server.applicationUrl), 'select 1')).rejects.toMatchObject({
      code: '42501',
    });
    await expect(query(elsewhere(server.ownerUrl), 'select 1')).rejects.toMatchObject({ code: '42501' });
  });

  test('refuses a wrong password and a missing one', async () => {
    const url = new URL(server.adminUrl);
    url.password = 'wrong';
    await expect(query(url.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('can be entered only by its own user, and has 256-bit passwords in one file of mode 0600', () => {
    expect(statSync(dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'server')).mode & 0o777).toBe(0o700);
    expect(statSync(join(dataDir, 'server/server.log')).mode & 0o777).toBe(0o600);
    const file = join(dataDir, 'server/credentials.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const passwords = Object.values(JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>);
    expect(new Set(passwords).size).toBe(3);
    for (const password of passwords) expect(Buffer.from(password, 'base64url')).toHaveLength(32);
    expect(readdirSync(join(dataDir, 'server')).sort()).toEqual(['credentials.json', 'data', 'server.log']);
    expect(readdirSync(dataDir)).toEqual(['server']);
  });

  test('logs no password and no statement', async () => {
    const password = JSON.parse(readFileSync(join(dataDir, 'server/credentials.json'), 'utf8')) as {
      owner: string;
    };
    await expect(
      query(server.adminUrl, `create role hallpass_app password '${password.owner}'`),
    ).rejects.toThrow();
    const log = readFileSync(join(dataDir, 'server/server.log'), 'utf8');
    expect(log).toContain('role "hallpass_app" already exists');
    expect(log).not.toContain(password.owner);
  });

  test.runIf(onLinux)('has nothing of our environment', () => {
    const pid = postmasterPid(dataDir);
    const names = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((entry) => entry.split('=')[0] ?? '')
      .filter((name) => name !== '');
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain('canary-secret');
    // Postgres itself adds the PG* variables.
    expect(names.filter((name) => !name.startsWith('PG')).sort()).toEqual(['LANG', 'LC_ALL', 'PATH', 'TZ']);
  });

  test.runIf(onLinux)('leads a separate session, so that no signal for our process group reaches it', () => {
    const pid = postmasterPid(dataDir);
    const [, , group, session] = (readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1] ?? '').split(' ');
    expect([group, session].map(Number)).toEqual([pid, pid]);
  });

  test.runIf(onLinux && asRoot)('runs as an unprivileged user if we are root', () => {
    const status = readFileSync(`/proc/${postmasterPid(dataDir)}/status`, 'utf8');
    const ids = ['Uid', 'Gid'].flatMap((name) =>
      new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1]?.split('\t'),
    );
    expect(ids).toHaveLength(8);
    expect(ids).not.toContain('0');
    expect(/^Groups:\s*(.*?)\s*$/m.exec(status)?.[1]?.split(' ')).not.toContain('0');
  });

  test('a second start finds the data and the logins again, and removes the remains of crashed first starts', async () => {
    await query(server.ownerUrl, 'create table kept as select 42 as answer');
    await server.stop();
    await server.stop();
    await expect(query(server.ownerUrl, 'select 1')).rejects.toThrow();
    await mkdir(join(dataDir, 'server.new-abcdef'));
    server = await openEmbeddedServer({ ...common, dataDir });
    expect(server.firstStart).toBe(false);
    expect(await query(server.ownerUrl, 'select answer from kept')).toEqual([{ answer: 42 }]);
    expect(readdirSync(dataDir)).toEqual(['server']);
  });

  test('reports the loss of the lock, and then leaves the server to another holder', async () => {
    await server.stop();
    let reportLoss: ((error: Error) => void) | undefined;
    const lost = new Promise<Error>((resolve) => {
      reportLoss = resolve;
    });
    const loser = await openEmbeddedServer({ ...common, dataDir, onLost: (error) => reportLoss?.(error) });
    await query(
      loser.adminUrl,
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'hallpass directory lock'`,
    );
    expect(await lost).toBeInstanceOf(Error);
    server = await openEmbeddedServer({ ...common, dataDir });
    await loser.stop();
    expect(await query(server.applicationUrl, 'select 1 as answer')).toEqual([{ answer: 1 }]);
  });

  test('refuses a cluster of another major version', async () => {
    await server.stop();
    const file = join(dataDir, 'server/data/PG_VERSION');
    const right = readFileSync(file, 'utf8');
    await writeFile(file, '12\n');
    await expect(openEmbeddedServer({ ...common, dataDir })).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringMatching(/was created by Postgres 12, but this is Postgres \d+/),
    });
    await writeFile(file, right);
    server = await openEmbeddedServer({ ...common, dataDir });
  });

  test('a server that is not the one of this directory is not taken over', async () => {
    await server.stop();
    const start = openEmbeddedServer({ ...common, dataDir, settings: { cluster_name: 'another' } });
    await expect(start).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringContaining('is another one'),
    });
    process.kill(postmasterPid(dataDir), 'SIGQUIT');
    server = await openEmbeddedServer({ ...common, dataDir });
  });

  test('an aborted start leaves no server', async () => {
    await server.stop();
    const giveUp = new AbortController();
    // The first wait is after the start of the server process.
    const clock: Clock = {
      now: () => systemClock.now(),
      setTimer(delayMs, run) {
        giveUp.abort(new Error('given up'));
        return systemClock.setTimer(delayMs, run);
      },
    };
    const start = openEmbeddedServer({ ...common, clock, dataDir, signal: giveUp.signal });
    await expect(start).rejects.toThrow('given up');
    expect(await findPostmaster(join(dataDir, 'server/data'))).toEqual({ state: 'absent' });
    server = await openEmbeddedServer({ ...common, dataDir });
  });

  test('reports the error of Postgres if it does not start', async () => {
    await server.stop();
    const start = openEmbeddedServer({ ...common, dataDir, settings: { shared_buffers: 'many' } });
    await expect(start).rejects.toMatchObject({
      code: 'unavailable',
      detail: expect.stringContaining('shared_buffers'),
    });
    server = await openEmbeddedServer({ ...common, dataDir });
  });
});
