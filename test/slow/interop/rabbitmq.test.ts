import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Channel, ChannelModel, ConsumeMessage } from 'amqplib';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startHttpsServer, testCa } from '../../outbound/https-server.ts';
import { eventually } from '../../support/eventually.ts';
import { isRabbitmqMissing, startRabbitmq } from '../support/rabbitmq-node.ts';
import { logIn, renew } from './clients/amqp-agent.ts';
import { startTokens, type TokenService, type Tokens } from './tokens.ts';

// These tests run Debian's rabbitmq-server with its OAuth 2 plugin, as a node of its own: a token is the password of an AMQP connection.

/** The resource, which the plugin calls `resource_server_id`. */
const identifier = 'urn:example:rabbitmq';

let service: TokenService;
let port: number;
const open: ChannelModel[] = [];

/** Starts an https server in front of Hallpass, because the plugin reads keys only over https. Returns its URL. */
async function startFront(issuer: string): Promise<string> {
  const front = await startHttpsServer((request, response) => {
    const answer = fetch(`${issuer}${request.url}`).then((given) => given.text());
    void answer.then((text) => response.end(text));
  });
  return `https://localhost:${front.port}`;
}

beforeAll(async () => {
  if (isRabbitmqMissing) return;
  const [configure, write, read] = ['configure:%2F/orders', 'write:%2F/amq.default', 'read:%2F/orders'].map(
    (scope) => `${identifier}.${scope}`,
  );
  const scopes = { good: `${configure} ${write}`, narrow: `${read}` };
  service = await startTokens({ identifier, scopes });
  const values = {
    ISSUER: await startFront(service.issuer),
    IDENTIFIER: identifier,
    CA_FILE: 'DIRECTORY/ca.pem',
  };
  const conf = Object.entries(values).reduce(
    (text, [name, value]) => text.replaceAll(`= ${name}`, `= ${value}`),
    readFileSync(join(import.meta.dirname, 'servers/rabbitmq.conf'), 'utf8'),
  );
  const plugins = ['rabbitmq_auth_backend_oauth2'];
  port = (await startRabbitmq({ conf, plugins, files: { 'ca.pem': testCa } })).port;
});

afterEach(async () => {
  for (const connection of open.splice(0)) await connection.close().catch(() => {});
});

/** Connects with this token. RabbitMQ closes a channel when it refuses something, so each check opens a channel of its own. */
async function connect(
  token: string,
): Promise<{ connection: ChannelModel; channel: () => Promise<Channel> }> {
  const connection = await logIn(port, token);
  connection.on('error', () => {});
  open.push(connection);
  const channel = async (): Promise<Channel> => {
    const created = await connection.createChannel();
    created.on('error', () => {});
    return created;
  };
  return { connection, channel };
}

const refused = /ACCESS_REFUSED|403/;

describe.skipIf(isRabbitmqMissing)('RabbitMQ with a token as password', () => {
  it('allows an agent what its scopes permit, with a new token and with one that was issued 200 s ago', async () => {
    for (const token of [service.tokens.good, service.tokens.aged]) {
      const { channel } = await connect(token);
      const orders = await channel();
      await orders.assertQueue('orders');
      orders.sendToQueue('orders', Buffer.from('two'));
      const message = await orders.get('orders', { noAck: true });
      expect(message).toMatchObject({ content: Buffer.from('two') });
    }
  });

  it('refuses everything that the scopes do not permit', async () => {
    const { channel } = await connect(service.tokens.good);
    await expect((await channel()).assertQueue('other')).rejects.toThrow(refused);
    const writing = await channel();
    const closed = new Promise((_, reject) => writing.once('error', reject));
    writing.publish('amq.fanout', '', Buffer.from('x'));
    await expect(closed).rejects.toThrow(refused);
    const reading = await connect(service.tokens.narrow);
    expect(await (await reading.channel()).get('orders')).toBe(false);
    await expect((await reading.channel()).deleteQueue('orders')).rejects.toThrow(refused);
  });

  it.each<keyof Tokens>([
    'expired',
    'otherAudience',
    'garbage',
  ])('refuses the login with a token with this fault: %s', async (name) => {
    await expect(connect(service.tokens[name])).rejects.toThrow(refused);
  });

  // docs/integrations.md explains how to end a running consumer.
  it('refuses new operations after the token has expired, unless the agent sends another token in time; a running consumer continues', async () => {
    const [expiring, renewed] = [
      await connect(await service.mintFor(4)),
      await connect(await service.mintFor(4)),
    ];
    await renew(renewed.connection, service.tokens.good);
    const received: string[] = [];
    const keep = (message: ConsumeMessage | null): void => void received.push(String(message?.content));
    await (await expiring.channel()).assertQueue('orders');
    await (await expiring.channel()).consume('orders', keep, { noAck: true });
    await eventually(async () =>
      expect((await expiring.channel()).assertQueue('orders')).rejects.toThrow(refused),
    );
    (await renewed.channel()).sendToQueue('orders', Buffer.from('late'));
    await eventually(async () => expect(received).toEqual(['late']));
  });
});
