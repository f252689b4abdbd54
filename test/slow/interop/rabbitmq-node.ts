import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';
import { startDaemon } from './software.ts';

/** Debian's rabbitmq-server. */
export const rabbitmqServer = '/usr/lib/rabbitmq/bin/rabbitmq-server';

interface Settings {
  /** `ISSUER` and `IDENTIFIER` replace the placeholders of these names in `servers/rabbitmq.conf`. */
  ISSUER: string;
  IDENTIFIER: string;
  /** The certificate authority of the broker's certificate, in PEM. */
  ca: string;
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

/** Starts a separate node with `servers/rabbitmq.conf`, which is stopped when the test file ends. Returns its AMQP port. */
export async function startRabbitmq({ ca, ISSUER, IDENTIFIER }: Settings): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-rabbitmq-'));
  atEnd(async () => rmSync(directory, { recursive: true }));
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  const ports = { amqp: await freePort(), mapper: await freePort(), distribution: await freePort() };
  write('ca.pem', ca);
  const template = readFileSync(join(import.meta.dirname, 'servers/rabbitmq.conf'), 'utf8');
  const values = { ISSUER, IDENTIFIER, CA_FILE: join(directory, 'ca.pem') };
  const filled = Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(`= ${name}`, `= ${value}`),
    template,
  );
  write('rabbitmq.conf', `${filled}\nlisteners.tcp.1 = 127.0.0.1:${ports.amqp}\n`);
  write('advanced.config', '[].\n');
  write('enabled_plugins', '[rabbitmq_auth_backend_oauth2].\n');
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
  return ports.amqp;
}
