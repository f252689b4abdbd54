import { readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { atEnd } from '../support/at-end.ts';

const read = (name: string): string =>
  readFileSync(new URL(`./certificates/${name}`, import.meta.url), 'utf8');

/**
 * The certificate authority that signed the certificate of the test server, which is for issuer.test, localhost and the
 * loopback addresses.
 */
export const testCa = read('ca.pem');

export interface HttpsServer {
  port: number;
  /** Returns the number of accepted connections, including those whose TLS handshake failed. */
  accepted(): number;
  requests: { method: string | undefined; url: string | undefined; headers: Record<string, unknown> }[];
}

/** Starts an https server on a loopback address, which is closed when the test file ends. */
export async function startHttpsServer(listener: RequestListener, host = '127.0.0.1'): Promise<HttpsServer> {
  const requests: HttpsServer['requests'] = [];
  let accepted = 0;
  const server = createServer(
    { key: read('server-key.pem'), cert: read('server.pem') },
    (request, response) => {
      requests.push({ method: request.method, url: request.url, headers: request.headers });
      listener(request, response);
    },
  );
  server.on('connection', () => {
    accepted += 1;
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  atEnd(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { port: (server.address() as AddressInfo).port, requests, accepted: () => accepted };
}
