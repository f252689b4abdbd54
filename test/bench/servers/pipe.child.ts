import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream';
import { Agent } from 'undici';

/** A bare pipe: sends each request to the upstream in `upstreamUrl` and its response back, with undici and nothing else. */
const { upstreamUrl } = JSON.parse(process.argv[2] ?? '{}') as { upstreamUrl: string };
const agent = new Agent();

const server = createServer((request, response) => {
  const { method = 'GET', url = '/', headers } = request;
  const { host: _host, connection: _connection, ...rest } = headers;
  agent
    .request({
      origin: upstreamUrl,
      path: url,
      method: method as 'GET',
      headers: rest as Record<string, string>,
      body: request,
    })
    .then(
      (answer) => {
        const { connection: _, 'transfer-encoding': __, ...passed } = answer.headers;
        response.writeHead(answer.statusCode, passed);
        pipeline(answer.body, response, () => {});
      },
      () => response.destroy(),
    );
});
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/items`;
  process.stdout.write(`${JSON.stringify({ url, authorization: 'Bearer x', form: 'a=1' })}\n`);
});
process.once('SIGTERM', () => process.exit(0));
