import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import type { Address, TargetOptions } from '../engine.ts';
import { toTargetFailure } from './failure.ts';

/** An open connection of one user. */
export interface Connection {
  redis: Redis;
  /** Whether neither side has ended it. */
  isOpen(): boolean;
  /** Ends the connection at once. What it has sent and the server has not received is never delivered. */
  reset(): void;
}

export interface Login {
  username: string;
  password: string;
}

type ServerOptions = Pick<TargetOptions, 'connection' | 'createSocket'>;

const ignore = (): void => {};

/**
 * Connects to a server and logs in. The connection is never made again by itself, and no command waits for a connection.
 * Ends the attempt when the signal is aborted. Throws `TargetFailure` without the password, also if the server repeats it.
 */
export async function connect(
  options: ServerOptions & { address: Address },
  { username, password }: Login,
  signal: AbortSignal,
): Promise<Connection> {
  signal.throwIfAborted();
  const socket = options.createSocket({ encrypted: options.connection.tls.mode === 'verify' });
  const redis = createClient(createConnector(() => openStream(socket, options, signal), socket));
  const isOpen = (): boolean => socket.writable && redis.status === 'ready';
  const connection = { redis, isOpen, reset: () => resetSocket(socket) };
  const abort = (): void => resetSocket(socket);
  signal.addEventListener('abort', abort, { once: true });
  try {
    await redis.connect();
    await redis.call('AUTH', username, password);
    return connection;
  } catch (error) {
    connection.reset();
    throw toTargetFailure(signal.aborted ? signal.reason : error, { username, secret: password });
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

function createClient(Connector: NonNullable<RedisOptions['Connector']>): Redis {
  const redis = new Redis({
    Connector,
    lazyConnect: true,
    // The login is a command of its own: the client would only warn of some answers to it.
    protocol: 2,
    disableClientInfo: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    // The signal of the call limits the time.
    connectTimeout: 0,
  });
  // Without a listener, the client would write to standard error. The command on the connection fails anyway.
  redis.on('error', ignore);
  return redis;
}

/** Creates the class with which the client connects: it uses only this socket, and only once. */
function createConnector(open: () => Promise<Socket>, socket: Socket) {
  return class extends AbstractConnector {
    constructor() {
      super(0);
    }
    override connect(): Promise<Socket> {
      return open();
    }
    override disconnect(): void {
      resetSocket(socket);
    }
  };
}

/** Connects the socket, and encrypts it unless TLS is off. Rejects with the reason why that failed. */
async function openStream(
  socket: Socket,
  { connection, address }: ServerOptions & { address: Address },
  signal: AbortSignal,
): Promise<Socket> {
  const { host, port } = address;
  socket.on('error', ignore);
  socket.connect(port, host);
  await once(socket, 'connect', { signal });
  const { mode, ca } = connection.tls;
  if (mode === 'off') return socket;
  const encrypted = connectTls({
    socket,
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
    rejectUnauthorized: true,
  });
  encrypted.on('error', ignore);
  await once(encrypted, 'secureConnect', { signal });
  return encrypted;
}

/**
 * Ends a connection with RST instead of FIN, so that the system forgets what it has not sent. Otherwise a command could arrive
 * minutes later, when a network works again.
 */
function resetSocket(socket: Socket): void {
  if (socket.connecting || socket.destroyed) socket.destroy(new Error('the connection was given up'));
  else socket.resetAndDestroy();
}
