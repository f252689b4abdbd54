import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';
import { isLeftOut, startDaemon } from '../interop/software.ts';

/** Debian's rabbitmq-server. */
const rabbitmqServer = '/usr/lib/rabbitmq/bin/rabbitmq-server';

/** Whether to skip the tests, because no RabbitMQ is installed. */
export const isRabbitmqMissing = isLeftOut('rabbitmq-server', existsSync(rabbitmqServer));

export interface RabbitmqSettings {
  /** The lines of `rabbitmq.conf`, besides that of the AMQP listener without TLS. */
  conf: string;
  plugins: readonly string[];
  /** Further files of the configuration, by name. `conf` has `DIRECTORY/` before their names. */
  files?: Record<string, string>;
}

/** A node that runs until the test file ends. */
export interface RabbitmqNode {
  /** The port for AMQP without TLS. */
  port: number;
  /** The folder with the logs. */
  logs: string;
}

/** Throws unless a process listens on the port. */
async function assertListening(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
}

/**
 * Returns environment variables with directories and ports of this node alone, so that another RabbitMQ on this
 * machine is not affected.
 */
function environmentOf(directory: string, ports: { amqp: number; mapper: number; distribution: number }) {
  const path = (name: string): string => join(directory, name);
  return {
    HOME: directory,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(ports.mapper),
    RABBITMQ_ADVANCED_CONFIG_FILE: path('advanced.config'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_CONFIG_FILE: path('rabbitmq.conf'),
    RABBITMQ_DIST_PORT: String(ports.distribution),
    RABBITMQ_ENABLED_PLUGINS_FILE: path('enabled_plugins'),
    RABBITMQ_GENERATED_CONFIG_DIR: path('generated'),
    RABBITMQ_LOG_BASE: path('log'),
    RABBITMQ_MNESIA_BASE: path('mnesia'),
    RABBITMQ_NODENAME: `hallpass-${ports.amqp}@localhost`,
    RABBITMQ_PID_FILE: path('pid'),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
  };
}

/** Starts a separate node, which is stopped when the test file ends. */
export async function startRabbitmq({ conf, plugins, files = {} }: RabbitmqSettings): Promise<RabbitmqNode> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-rabbitmq-'));
  atEnd(async () => rmSync(directory, { recursive: true }));
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  const ports = { amqp: await freePort(), mapper: await freePort(), distribution: await freePort() };
  for (const [name, text] of Object.entries(files)) write(name, text);
  const lines = conf.replaceAll('DIRECTORY/', `${directory}/`);
  write('rabbitmq.conf', `${lines}\nlisteners.tcp.1 = 127.0.0.1:${ports.amqp}\n`);
  write('advanced.config', '[].\n');
  write('enabled_plugins', `[${plugins.join(',')}].\n`);
  await startDaemon({
    command: '/usr/bin/epmd',
    args: ['-address', '127.0.0.1', '-port', String(ports.mapper)],
    check: () => assertListening(ports.mapper),
  });
  await startDaemon({
    command: rabbitmqServer,
    args: [],
    env: environmentOf(directory, ports),
    check: () => assertListening(ports.amqp),
  });
  return { port: ports.amqp, logs: join(directory, 'log') };
}
