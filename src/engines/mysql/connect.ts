import type { Socket } from 'node:net';
import mysql from 'mysql2';
import { unlessAborted } from '../bounded-call.ts';
import type { Address, TargetOptions } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { toLoginFailure } from './failure.ts';

/** Who logs in. The proof is that of `computeProof`. */
export interface Login {
  name: string;
  proof: Buffer;
}

/** An open connection, which runs one statement after the other. */
export interface Connection {
  client: mysql.Connection;
  /** Whether neither side has ended it. */
  isOpen(): boolean;
  /** Ends the connection at once, also if the server does not answer. */
  reset(): void;
  /** Ends a connection that is not in use, so that the server does not log that it was lost. */
  quit(): void;
}

export interface ConnectOptions extends Pick<TargetOptions, 'createSocket' | 'timeoutMs'> {
  address: Address;
  login: Login;
  /** The database that is selected; undefined for none. */
  database?: string | undefined;
  /** The settings of TLS; undefined for none. The same object for every connection: mysql2 stores TLS sessions for it. */
  ssl: mysql.SslOptions | undefined;
}

/** How long a server has to close a connection. */
const quitMs = 1_000;

/** The message for a server that is not MariaDB. */
export const notMariadb = 'the server is not MariaDB';

/** Connects and logs in. Leaves no socket if it fails or the signal is aborted meanwhile. */
export async function connect(options: ConnectOptions, signal: AbortSignal): Promise<Connection> {
  signal.throwIfAborted();
  const socket = options.createSocket({ encrypted: options.ssl !== undefined });
  let socketError: Error | undefined;
  socket.on('error', (error) => {
    socketError ??= error;
  });
  const client = mysql.createConnection(clientConfig(options, socket));
  // Without a listener, the loss of a connection would end the process. The statement on it fails anyway.
  client.on('error', () => {});
  const reset = (): void => {
    client.destroy();
    socket.destroy();
  };
  try {
    await unlessAborted(signal, logIn(client), () => {});
    assertMariadb(client);
    const isOpen = (): boolean => socket.writable && client.state === 'authenticated';
    return { client, isOpen, reset, quit: () => quit(client, socket) };
  } catch (error) {
    reset();
    if (signal.aborted) throw error;
    assertMariadb(client);
    throw toLoginFailure(socketError ?? error);
  }
}

function logIn(client: mysql.Connection): Promise<void> {
  return new Promise((resolve, reject) => {
    client.connect((error) => (error ? reject(error) : resolve()));
  });
}

function quit(client: mysql.Connection, socket: Socket): void {
  const late = setTimeout(() => socket.destroy(), quitMs).unref();
  socket.once('close', () => clearTimeout(late));
  client.end();
}

/** Also a refused login must tell that the server is MySQL, of which the methods of authentication differ. */
function assertMariadb(client: mysql.Connection): void {
  const { _isMariaDB: isMariadb, connectionId } = client as { _isMariaDB?: boolean; connectionId?: number };
  // The server's first message has the connection id.
  if (connectionId === undefined || isMariadb === true) return;
  throw new TargetFailure('refused', notMariadb);
}

/** Returns the settings of a connection. None comes from the environment of the process. */
function clientConfig(
  { address: { host, port }, login, database, ssl, timeoutMs }: ConnectOptions,
  socket: Socket,
): mysql.ConnectionOptions {
  const config = {
    host,
    port,
    user: login.name,
    // Without the password, only mysql_native_password works: a server cannot ask for the password in another form.
    passwordSha1: login.proof as unknown as string,
    ...(database === undefined ? {} : { database }),
    stream: () => {
      // mysql2 checks the certificate for the name `localhost` if the host is an IP address, unless the socket has this.
      Object.assign(socket, { _host: host });
      return socket.connect(port, host).setNoDelay(true);
    },
    connectTimeout: timeoutMs,
    multipleStatements: false,
    // No server may ask for a file of this process.
    flags: ['-LOCAL_FILES'],
    // Names of columns, which a server chooses, must not become code.
    disableEval: true,
    trace: false,
    connectAttributes: { program_name: 'hallpass' },
  } satisfies mysql.ConnectionOptions;
  return ssl === undefined ? config : { ...config, ssl };
}
