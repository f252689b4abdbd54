import type { RequestListener } from 'node:http';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createOutboundClient, type OutboundOptions } from '../../src/outbound/outbound-client.ts';
import { atEnd } from '../support/at-end.ts';
import { type HttpsServer, startHttpsServer, testCa } from './https-server.ts';

const json: RequestListener = (_request, response) => response.end('{"keys":[]}');
const loopback = ['127.0.0.0/8', '::1/128'];

function clientOf({
  allowed = loopback,
  ...options
}: Partial<OutboundOptions> & { allowed?: string[] } = {}) {
  const resolve = async (): Promise<string[]> => ['127.0.0.1'];
  const isAllowed = createAddressRules(allowed);
  const client = createOutboundClient({ isAllowed, ca: testCa, timeoutMs: 2_000, resolve, ...options });
  atEnd(() => client.close());
  return client;
}

const problem = (name: string) => expect.objectContaining({ name: 'OutboundFailure', problem: name });

describe('a document', () => {
  it('is read over https from the address of its host, with one request without any credentials', async () => {
    const server = await startHttpsServer(json);
    const client = clientOf();
    expect(await client.getJson(`https://issuer.test:${server.port}/a/jwks?b=c`)).toEqual({ keys: [] });
    expect(server.requests).toEqual([
      {
        method: 'GET',
        url: '/a/jwks?b=c',
        headers: expect.not.objectContaining({ authorization: expect.anything(), cookie: expect.anything() }),
      },
    ]);
  });

  it('is not read from a server whose certificate is for another name, or from an unknown authority', async () => {
    const server = await startHttpsServer(json);
    const other = clientOf().getJson(`https://other.test:${server.port}/`);
    await expect(other).rejects.toEqual(problem('not-connected'));
    const stranger = clientOf({ ca: undefined as unknown as string });
    await expect(stranger.getJson(`https://issuer.test:${server.port}/`)).rejects.toEqual(
      problem('not-connected'),
    );
    expect(server.requests).toEqual([]);
  });

  it.each([
    'http://issuer.test/',
    'ftp://issuer.test/',
    'file:///etc/passwd',
    'data:application/json,{}',
    'https://user:password@issuer.test/',
    'https://user@issuer.test/',
    'https://',
    '//issuer.test/',
    'issuer.test',
    '',
  ])('is not read from %j', async (url) => {
    await expect(clientOf().getJson(url)).rejects.toEqual(problem('url-not-allowed'));
  });
});

describe('no connection is made', () => {
  let canary: HttpsServer;
  let canary6: HttpsServer;
  beforeAll(async () => {
    [canary, canary6] = [await startHttpsServer(json), await startHttpsServer(json, '::1')];
  });
  const nothingCame = (): void => expect([canary.accepted(), canary6.accepted()]).toEqual([0, 0]);

  it.each([
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0177.0.0.1',
    '0x7f.1',
    '0x7f000001',
    '017700000001',
    '127.0.0.1.',
    '１２７.０.０.１',
    '127。0。0。1',
    '%31%32%37.0.0.1',
    '0',
    '0.0.0.0',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '169.254.169.254',
    '[fe80::1]',
    '10.0.0.1',
  ])('to %s', async (host) => {
    const client = clientOf({ allowed: [] });
    for (const { port } of [canary, canary6]) {
      await expect(client.getJson(`https://${host}:${port}/`)).rejects.toEqual(
        problem('address-not-allowed'),
      );
    }
    nothingCame();
  });

  it.each([
    ['that is private', ['127.0.0.1']],
    ['one of which is private', ['8.8.8.8', '127.0.0.1']],
    ['one of which is private, in another order', ['::1', '2606:4700::1111']],
    ['that is private within IPv6', ['::ffff:127.0.0.1']],
    ['that is not an address', ['localhost']],
  ])('to a name with an address %s', async (_what, addresses) => {
    const client = clientOf({ allowed: [], resolve: async () => addresses });
    for (const { port } of [canary, canary6]) {
      const read = client.getJson(`https://issuer.test:${port}/`);
      await expect(read).rejects.toEqual(problem('address-not-allowed'));
    }
    nothingCame();
  });

  it('to localhost, which is resolved by the system resolver', async () => {
    const isAllowed = createAddressRules([]);
    const client = createOutboundClient({ isAllowed, ca: testCa });
    atEnd(() => client.close());
    await expect(client.getJson(`https://localhost:${canary.port}/`)).rejects.toEqual(
      problem('address-not-allowed'),
    );
    nothingCame();
  });

  it('to a name without an address, or an unknown name', async () => {
    const none = clientOf({ resolve: async () => [] });
    await expect(none.getJson('https://issuer.test/')).rejects.toEqual(problem('name-not-found'));
    const unknown = clientOf({ resolve: () => Promise.reject(new Error('ENOTFOUND')) });
    await expect(unknown.getJson('https://issuer.test/')).rejects.toEqual(problem('name-not-found'));
  });

  it('to the target of a redirect', async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      const server = await startHttpsServer((_request, response) =>
        response.writeHead(status, { Location: `https://127.0.0.1:${canary.port}/` }).end(),
      );
      const read = clientOf().getJson(`https://issuer.test:${server.port}/`);
      await expect(read).rejects.toEqual(problem('redirected'));
    }
    nothingCame();
  });

  it('to a name that was rebound after its address was checked: the checked address is used', async () => {
    const server = await startHttpsServer(json);
    const answers = [['127.0.0.1'], ['10.0.0.1']];
    let asked = 0;
    const client = clientOf({ resolve: async () => answers[asked++] ?? [] });
    await client.getJson(`https://issuer.test:${server.port}/`);
    expect([asked, server.accepted()]).toEqual([1, 1]);
    const other = await startHttpsServer(json);
    await expect(client.getJson(`https://issuer.test:${other.port}/`)).rejects.toEqual(
      problem('address-not-allowed'),
    );
    expect(other.accepted()).toBe(0);
  });
});

describe('a response', () => {
  const answerOf = async (listener: RequestListener, options: Partial<OutboundOptions> = {}) => {
    const server = await startHttpsServer(listener);
    return clientOf(options).getJson(`https://issuer.test:${server.port}/`);
  };
  const maxBytes = 64 * 1024;

  it('of the maximum size is read, and one byte more is refused, with or without a Content-Length', async () => {
    const body = (bytes: number): string => `"${'a'.repeat(bytes - 2)}"`;
    expect(await answerOf((_q, response) => response.end(body(maxBytes)), { maxBytes })).toHaveLength(
      maxBytes - 2,
    );
    const said: RequestListener = (_q, response) => response.end(body(maxBytes + 1));
    await expect(answerOf(said, { maxBytes })).rejects.toEqual(problem('too-large'));
    const unsaid: RequestListener = (_q, response) => {
      response.write(body(maxBytes));
      response.end(' ');
    };
    await expect(answerOf(unsaid, { maxBytes })).rejects.toEqual(problem('too-large'));
  });

  it('without an end is aborted', async () => {
    let sent = 0;
    const endless: RequestListener = (_request, response) => {
      const more = (): void => {
        while (!response.destroyed && response.write('a'.repeat(16_384))) sent += 16_384;
      };
      response.on('drain', more);
      more();
    };
    await expect(answerOf(endless, { maxBytes })).rejects.toEqual(problem('too-large'));
    expect(sent).toBeLessThan(16 * 2 ** 20);
  });

  it('that is compressed although that was not requested is not decompressed', async () => {
    const bomb = gzipSync(Buffer.from(`"${'a'.repeat(4 * 2 ** 20)}"`));
    const packed: RequestListener = (_request, response) =>
      response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(bomb);
    await expect(answerOf(packed, { maxBytes })).rejects.toEqual(problem('not-json'));
  });

  it.each([
    ['that never begins', (): void => {}],
    ['that never ends', (_q, response) => void response.write('{')],
    [
      'that comes byte by byte',
      (_q, response) => {
        const timer = setInterval(() => response.write(' '), 20);
        response.on('close', () => clearInterval(timer));
      },
    ],
  ] satisfies [
    string,
    RequestListener,
  ][])('%s is given up after the time for everything', async (_what, listener) => {
    await expect(answerOf(listener, { timeoutMs: 300 })).rejects.toEqual(problem('timed-out'));
  });

  it('is given up, too, if the look-up of its name takes too long', async () => {
    const client = clientOf({ timeoutMs: 300, resolve: () => new Promise(() => {}) });
    await expect(client.getJson('https://issuer.test/')).rejects.toEqual(problem('timed-out'));
  });

  it.each([204, 400, 401, 404, 429, 500, 503])('of status %i is refused', async (status) => {
    const refused: RequestListener = (_request, response) => response.writeHead(status).end('{}');
    if (status === 204) await expect(answerOf(refused)).rejects.toEqual(problem('refused'));
    else await expect(answerOf(refused)).rejects.toEqual(problem('refused'));
  });

  it.each(['', 'no', '{', '{"keys":[]}}', '<html></html>'])('that is %j is refused', async (text) => {
    await expect(answerOf((_request, response) => response.end(text))).rejects.toEqual(problem('not-json'));
  });

  it('that breaks off, or a refused connection, is a failure', async () => {
    const broken: RequestListener = (request, response) => {
      response.writeHead(200, { 'Content-Length': '100' }).write('{');
      setImmediate(() => request.socket.destroy());
    };
    await expect(answerOf(broken)).rejects.toEqual(problem('not-connected'));
    await expect(clientOf().getJson('https://issuer.test:1/')).rejects.toEqual(problem('not-connected'));
  });
});
