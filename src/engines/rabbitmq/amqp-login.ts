import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { ChannelModel } from 'amqplib';
import { unlessAborted } from '../bounded-call.ts';
import { TargetFailure } from '../target-failure.ts';

/** A connection of `amqplib` over a socket, as its `connect` makes it. */
interface AmqpConnection extends EventEmitter {
  open(frames: object, callback: (error: Error | null) => void): void;
}

interface AmqpLibrary {
  Connection: new (socket: Socket) => AmqpConnection;
  ChannelModel: new (connection: AmqpConnection) => ChannelModel;
}

/**
 * Loads the parts of `amqplib` that take a socket. The package does not export them: its `connect` makes the socket itself, which
 * could reach an address that is not allowed.
 */
function loadLibrary(): AmqpLibrary {
  const load = createRequire(import.meta.url);
  const folder = join(dirname(load.resolve('amqplib')), 'lib');
  return {
    ...(load(join(folder, 'connection.js')) as Pick<AmqpLibrary, 'Connection'>),
    ...(load(join(folder, 'channel_model.js')) as Pick<AmqpLibrary, 'ChannelModel'>),
  };
}

const { Connection, ChannelModel: Model } = loadLibrary();

const maxFrameBytes = 131_072;

export interface Login {
  name: string;
  password: string;
  vhost: string;
}

/** Logs in by AMQP 0-9-1 over a connected socket, which is closed if that fails or the signal is aborted. */
export async function logIn(
  socket: Socket,
  { name, password, vhost }: Login,
  signal: AbortSignal,
): Promise<ChannelModel> {
  const connection = new Connection(socket);
  connection.on('error', () => {});
  const opened = new Promise<void>((resolve, reject) => {
    connection.open(
      {
        // Without it, RabbitMQ closes the socket of a login that it refuses, and does not say why.
        clientProperties: { product: 'hallpass', capabilities: { authentication_failure_close: true } },
        mechanism: 'PLAIN',
        response: Buffer.from(`\0${name}\0${password}`),
        locale: 'en_US',
        channelMax: 0,
        frameMax: maxFrameBytes,
        maxFrameSize: maxFrameBytes,
        heartbeat: null,
        virtualHost: vhost,
        capabilities: '',
        insist: 0,
      },
      (error) => (error === null ? resolve() : reject(error)),
    );
  });
  try {
    await unlessAborted(signal, opened, () => {});
    return new Model(connection);
  } catch (error) {
    socket.destroy();
    throw toLoginFailure(error, vhost);
  }
}

/** `amqplib` has no codes for a login that is refused, only messages. */
function toLoginFailure(error: unknown, vhost: string): unknown {
  const message = error instanceof Error ? error.message : '';
  if (/^Handshake terminated by server: 403\b/.test(message)) {
    return new TargetFailure('login-refused', 'the server does not accept the user name and the password');
  }
  if (/^Expected ConnectionOpenOk; got <ConnectionClose\b/.test(message)) {
    const detail = `the account may not open the virtual host ${JSON.stringify(vhost)}, or has too many connections`;
    return new TargetFailure('login-refused', detail);
  }
  return error;
}
