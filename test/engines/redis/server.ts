import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { CreateSocket } from '../../../src/engines/engine.ts';
import { isLeftOut, startDaemon } from '../../slow/interop/software.ts';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';
import { newPassword } from '../contract.ts';

/** Debian's redis-server. */
const program = '/usr/bin/redis-server';

/** Whether to skip the tests, because no Redis is installed. */
export const isRedisMissing = isLeftOut('redis-server', existsSync(program));

/** The privileges of the admin account, as docs/engines-redis.md has them. */
export const adminPrivileges = [
  ...['setuser', 'getuser', 'deluser', 'users', 'dryrun', 'cat', 'save'].map((name) => `+acl|${name}`),
  ...['+client|kill', '+info', '+ping'],
];

export interface RedisServer {
  port: number;
  admin: { username: string; password: string };
  /** Runs a command as a user with all privileges. */
  asRoot(name: string, ...args: string[]): Promise<unknown>;
  /** Ends the server, and starts it again with the same files. */
  restart(): Promise<void>;
  /** Stops the process until `work` has ended, then lets it continue. */
  whileStopped<T>(work: () => Promise<T>): Promise<T>;
  readLog(): string;
  directory: string;
}

interface Settings {
  hasAclFile?: boolean;
  /** Further lines of the configuration. */
  lines?: readonly string[];
  /** Rules of the user `default`. */
  defaultUser?: string;
}

const digest = (password: string): string => `#${createHash('sha256').update(password).digest('hex')}`;

/**
 * Starts a Redis server on a free port, in a directory of its own, with an admin account that may do what the broker needs and
 * nothing else. It ends when the test file ends.
 */
export async function startRedis(settings: Settings = {}): Promise<RedisServer> {
  const { hasAclFile = true, lines = [], defaultUser = 'off' } = settings;
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-redis-'));
  atEnd(async () => rmSync(directory, { recursive: true }));
  const port = await freePort();
  const admin = { username: 'hallpass', password: newPassword() };
  const rootPassword = newPassword();
  const users = [
    `user default ${defaultUser}`,
    `user root on ${digest(rootPassword)} ~* &* +@all`,
    `user ${admin.username} on ${digest(admin.password)} resetchannels -@all ${adminPrivileges.join(' ')}`,
  ];
  const path = (name: string): string => join(directory, name);
  if (hasAclFile) writeFileSync(path('users.acl'), `${users.join('\n')}\n`);
  const config = [
    ...['bind 127.0.0.1', `port ${port}`, `dir ${directory}`, 'save ""', `logfile ${path('log')}`],
    ...['loglevel debug', 'enable-debug-command yes'],
    ...(hasAclFile ? [`aclfile ${path('users.acl')}`] : users),
    ...lines,
  ];
  writeFileSync(path('redis.conf'), `${config.join('\n')}\n`);
  let root: Redis | undefined;
  const start = async (): Promise<void> => {
    const check = async (): Promise<void> => {
      root = await connectTo(port, { name: 'root', password: rootPassword });
    };
    await startDaemon({ command: program, args: [path('redis.conf')], check });
  };
  const asRoot = async (name: string, ...args: string[]): Promise<unknown> => root?.call(name, ...args);
  await start();
  const pid = async (): Promise<number> =>
    Number(/process_id:(\d+)/.exec(String(await asRoot('INFO', 'server')))?.[1]);
  return {
    port,
    admin,
    directory,
    asRoot,
    async restart() {
      await asRoot('SHUTDOWN', 'NOSAVE').catch(() => {});
      await start();
    },
    async whileStopped(work) {
      const process_ = await pid();
      process.kill(process_, 'SIGSTOP');
      try {
        return await work();
      } finally {
        process.kill(process_, 'SIGCONT');
      }
    },
    readLog: () => readFileSync(path('log'), 'utf8'),
  };
}

/** Creates sockets like `createSocket`, and keeps what is sent on them. */
export function recordSockets(createSocket: CreateSocket) {
  let sent = '';
  return {
    createSocket: (use: { encrypted: boolean }) => {
      const socket = createSocket(use);
      const write = socket.write.bind(socket) as (chunk: string) => boolean;
      // Node gives a socket its own `write` when it connects.
      socket.once('connect', () => {
        socket.write = (chunk: string | Uint8Array): boolean => {
          sent += String(chunk);
          return write(String(chunk));
        };
      });
      return socket;
    },
    sent: () => sent,
    /** The commands that were sent, as words. */
    commands: () =>
      sent
        .split(/^\*\d+\r\n/m)
        .map((text) => text.split('\r\n').filter((line) => line !== '' && !line.startsWith('$'))),
  };
}

/** Connects as an account, as an agent would. The connection ends when the test file ends. */
export async function connectTo(
  port: number,
  { name, password }: { name: string; password: string },
): Promise<Redis> {
  const redis = new Redis({
    host: '127.0.0.1',
    port,
    username: name,
    password,
    lazyConnect: true,
    enableReadyCheck: false,
    disableClientInfo: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  redis.on('error', () => {});
  await redis.connect();
  atEnd(async () => redis.disconnect());
  return redis;
}
