import { randomBytes } from 'node:crypto';
import { request } from 'undici';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import type { PermissionMapping, VhostPermission } from '../../../src/engines/mapping.ts';
import { rabbitmq } from '../../../src/engines/rabbitmq/engine.ts';
import { type ContractSubject, createAccounts, newPassword, openTarget } from '../../engines/contract.ts';
import { targetOptions } from '../../engines/target-options.ts';
import { eventually } from '../../support/eventually.ts';
import { freePort } from '../../support/free-port.ts';
import { startRabbitmq } from '../support/rabbitmq-node.ts';

/** A node with the management plugin, an admin account and virtual hosts for one test file. */
export interface RabbitmqSubject extends ContractSubject {
  /** The virtual host of the leases, and another one. Their names have characters that must be encoded. */
  vhost: string;
  otherVhost: string;
  amqpPort: number;
  mqttPort: number;
  stompPort: number;
  streamPort: number;
  logs: string;
  /** Sends a request to the HTTP API as the first user, who may do everything. Throws unless it succeeds. */
  asRoot(method: 'GET' | 'PUT' | 'DELETE', path: readonly string[], body?: object): Promise<unknown>;
}

const root = { name: 'root', password: newPassword() };

/** Returns a mapping to permissions in one virtual host; none where it is not said. */
export function permit(vhost: string, permission: Partial<VhostPermission>): PermissionMapping {
  return { permissions: [{ vhost, configure: '', write: '', read: '', ...permission }] };
}

interface Preparation {
  /** `server.pem` and `server-key.pem`: with them, the HTTP API and the AMQP of the agents have TLS. */
  certificate?: Record<string, string>;
}

/** Starts a node and prepares it for leases as docs/engines-rabbitmq.md says. */
export async function prepareRabbitmq({ certificate }: Preparation = {}): Promise<RabbitmqSubject> {
  const [http, mqtt, stomp] = [await freePort(), await freePort(), await freePort()];
  const [stream, amqps, https] = [await freePort(), await freePort(), await freePort()];
  const conf = [
    `management.tcp.ip = 127.0.0.1`,
    `management.tcp.port = ${http}`,
    `mqtt.listeners.tcp.1 = 127.0.0.1:${mqtt}`,
    `stomp.listeners.tcp.1 = 127.0.0.1:${stomp}`,
    `stream.listeners.tcp.1 = 127.0.0.1:${stream}`,
    `default_user = ${root.name}`,
    `default_pass = ${root.password}`,
    'log.file.level = debug',
  ].join('\n');
  const plugins = ['rabbitmq_management', 'rabbitmq_mqtt', 'rabbitmq_stomp', 'rabbitmq_stream'];
  const node = await startRabbitmq({
    conf: certificate === undefined ? conf : `${conf}\n${tlsLines(amqps, https)}`,
    plugins,
    ...(certificate === undefined ? {} : { files: certificate }),
  });
  const asRoot = rootOf(http);
  await eventually(() => asRoot('GET', ['whoami']));
  const suffix = randomBytes(4).toString('hex');
  const names = { vhost: `le/as"es é%2F ${suffix}`, otherVhost: `other'; ?#${suffix}` };
  for (const vhost of Object.values(names)) await asRoot('PUT', ['vhosts', vhost], {});
  const admin = { name: `ad/min é:${suffix}`.replace(':', ';'), password: newPassword() };
  await asRoot('PUT', ['users', admin.name], { password: admin.password, tags: 'administrator' });
  const hasTls = certificate !== undefined;
  const options = targetOptions(`http://127.0.0.1:${hasTls ? https : http}`, {
    username: admin.name,
    password: admin.password,
    database: names.vhost,
    endpoint: { host: '127.0.0.1', port: hasTls ? amqps : node.port },
  });
  return {
    engine: rabbitmq,
    options,
    mappings: [
      permit(names.vhost, { read: '^orders$' }),
      {
        permissions: [names.vhost, names.otherVhost].map((vhost) => ({
          vhost,
          configure: '^own-',
          write: '^(own-|orders$)',
          read: '^own-',
        })),
      },
    ],
    missing: permit(`none ${suffix}`, { read: '.*' }),
    ...names,
    amqpPort: node.port,
    mqttPort: mqtt,
    stompPort: stomp,
    streamPort: stream,
    logs: node.logs,
    asRoot,
  };
}

function tlsLines(amqps: number, https: number): string {
  const of = (prefix: string): string[] => [
    `${prefix}.certfile = DIRECTORY/server.pem`,
    `${prefix}.keyfile = DIRECTORY/server-key.pem`,
  ];
  return [
    `listeners.ssl.1 = 127.0.0.1:${amqps}`,
    ...of('ssl_options'),
    'management.ssl.ip = 127.0.0.1',
    `management.ssl.port = ${https}`,
    ...of('management.ssl'),
  ].join('\n');
}

function rootOf(port: number): RabbitmqSubject['asRoot'] {
  return async (method, path, body) => {
    const { statusCode, body: answer } = await request(
      `http://127.0.0.1:${port}/api/${path.map(encodeURIComponent).join('/')}`,
      {
        method,
        headers: { authorization: `Basic ${btoa(`${root.name}:${root.password}`)}` },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      },
    );
    const text = await answer.text();
    if (statusCode >= 300) throw new Error(`${method} ${path.join('/')}: ${statusCode} ${text}`);
    return text === '' ? undefined : JSON.parse(text);
  };
}

/** Opens the target of a subject, and creates accounts in it. */
export function useSubject(subject: RabbitmqSubject, change: Partial<TargetConnection> = {}) {
  const target = openTarget(subject.engine, subject.options, change);
  return { target, accounts: createAccounts(subject, target) };
}
