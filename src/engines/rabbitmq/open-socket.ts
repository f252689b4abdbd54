import { once } from 'node:events';
import { isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as startTls } from 'node:tls';
import { unlessAborted } from '../bounded-call.ts';
import type { Address, CreateSocket, TlsSettings } from '../engine.ts';

export interface SocketOptions {
  tls: TlsSettings;
  createSocket: CreateSocket;
  signal: AbortSignal;
}

/** Connects to an address, with TLS if the target has it. Leaves no socket if it fails or the signal is aborted. */
export async function openSocket(
  { host, port }: Address,
  { tls, createSocket, signal }: SocketOptions,
): Promise<Socket> {
  signal.throwIfAborted();
  const socket = createSocket({ encrypted: tls.mode === 'verify' });
  // The loss of a connection that nobody uses must not end the process.
  socket.on('error', () => {});
  try {
    const connected = once(socket, 'connect', { signal });
    socket.connect(port, host);
    await connected;
    if (tls.mode === 'off') return socket;
    return await unlessAborted(signal, encrypt(socket, tlsOptions(host, tls)), (late) => late.destroy());
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function tlsOptions(host: string, { ca }: TlsSettings): ConnectionOptions {
  // TLS has no server name for an IP address (RFC 6066 section 3). The certificate is checked against `host` either way.
  const servername = isIP(host) === 0 ? host : '';
  return { host, servername, rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
}

async function encrypt(socket: Socket, options: ConnectionOptions): Promise<Socket> {
  const encrypted = startTls({ ...options, socket });
  await once(encrypted, 'secureConnect');
  encrypted.on('error', () => {});
  return encrypted;
}
