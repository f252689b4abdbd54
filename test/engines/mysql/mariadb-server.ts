import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import mysql from 'mysql2/promise';
import { type Account, chooseAccount } from '../../../src/embedded/run-as.ts';
import { isLeftOut, startDaemon } from '../../slow/interop/software.ts';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';

const server = '/usr/sbin/mariadbd';
const installer = '/usr/bin/mariadb-install-db';

/** Whether to skip tests, because Debian's mariadb-server is not installed. */
export const isMariadbMissing = isLeftOut('mariadb-server', existsSync(server) && existsSync(installer));

/** A server that runs until the test file ends. */
export interface MariadbServer {
  port: number;
  /** The URL of the superuser, who needs no password on the server's Unix socket. */
  socketPath: string;
  /** Returns what the server has logged, with every statement. */
  readLog(): Promise<string>;
}

export interface MariadbSettings {
  /** Lines of the configuration file. */
  lines?: readonly string[];
  /** Files beside the configuration file, by name. `DIRECTORY` in a line stands for their directory. */
  files?: Readonly<Record<string, Buffer>>;
}

/** Starts a separate server with an empty data directory on a loopback port. Its data is removed when the test file ends. */
export async function startMariadb({ lines = [], files = {} }: MariadbSettings = {}): Promise<MariadbServer> {
  const directory = await mkdtemp(join(tmpdir(), 'hallpass-mariadb-'));
  atEnd(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const path = (name: string): string => join(directory, name);
  await mkdir(path('data'), { mode: 0o700 });
  const port = await freePort();
  await writeFile(path('my.cnf'), configuration(directory, { port, lines }));
  for (const [name, content] of Object.entries(files)) await writeFile(path(name), content);
  const account = chooseAccount();
  for (const name of ['', 'data', ...Object.keys(files)]) {
    if (account !== undefined) await chown(path(name), account.uid, account.gid);
  }
  const defaults = `--defaults-file=${path('my.cnf')}`;
  await install(defaults, { directory, account });
  const socketPath = path('socket');
  // The daemon is started through `setpriv`, because it does not run as root.
  const as =
    account === undefined ? [] : [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'];
  await startDaemon({
    command: '/usr/bin/setpriv',
    args: [...as, server, defaults],
    check: () => runOn(socketPath, 'select 1'),
  });
  return { port, socketPath, readLog: () => readFile(path('statements.log'), 'utf8') };
}

/** Creates the tables of the server itself. Its messages go to standard output. */
async function install(
  defaults: string,
  { directory, account }: { directory: string; account: Account | undefined },
): Promise<void> {
  const args = [
    defaults,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    '--skip-name-resolve',
  ];
  try {
    await promisify(execFile)(installer, args, { ...account, cwd: directory });
  } catch (error) {
    const { stdout } = error as { stdout?: string };
    const log = await readFile(join(directory, 'error.log'), 'utf8').catch(() => '');
    throw new Error(`${installer} failed: ${stdout}\n${log}`, { cause: error });
  }
}

function configuration(
  directory: string,
  { port, lines }: { port: number; lines: readonly string[] },
): string {
  return [
    '[mysqld]',
    `datadir=${directory}/data`,
    // A server that starts removes the temporary tables of others in the same directory.
    `tmpdir=${directory}`,
    `socket=${directory}/socket`,
    `pid-file=${directory}/pid`,
    `log-error=${directory}/error.log`,
    `general-log-file=${directory}/statements.log`,
    'general-log',
    `port=${port}`,
    'bind-address=127.0.0.1',
    'innodb-buffer-pool-size=8M',
    'innodb-log-file-size=4M',
    'innodb-flush-log-at-trx-commit=0',
    'innodb-data-file-path=ibdata1:4M:autoextend',
    'innodb-temp-data-file-path=ibtmp1:4M:autoextend',
    'aria-pagecache-buffer-size=4M',
    'performance-schema=off',
    ...lines.map((line) => line.replaceAll('DIRECTORY', directory)),
    '',
  ].join('\n');
}

/** Runs one statement as the superuser. */
export async function runOn<Row>(socketPath: string, statement: string): Promise<Row[]> {
  const client = await mysql.createConnection({ socketPath, user: 'root', multipleStatements: true });
  try {
    const [rows] = await client.query(statement);
    return rows as Row[];
  } finally {
    await client.end();
  }
}
