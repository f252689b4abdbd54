import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createTargetSockets, type TargetSocketOptions } from '../../src/outbound/target-socket.ts';
import { atEnd } from '../support/at-end.ts';

/** A server that counts its connections. */
async function startCanary() {
  let accepted = 0;
  const server = createServer((socket) => {
    accepted += 1;
    socket.end('hello');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(async () => server.close());
  return { port: (server.address() as AddressInfo).port, accepted: () => accepted };
}

interface Connection extends Partial<TargetSocketOptions> {
  allowed?: string[];
  encrypted?: boolean;
}

/** Resolves with what the server sends, or rejects with the error of the socket. */
async function read(
  host: string,
  port: number,
  { allowed = [], encrypted = true, ...options }: Connection = {},
): Promise<string> {
  const create = createTargetSockets({ isAllowed: createAddressRules(allowed), ...options });
  const socket = create({ encrypted });
  socket.connect(port, host);
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

const problem = (name: string) => expect.objectContaining({ name: 'OutboundFailure', problem: name });
const loopback = ['127.0.0.0/8'];

describe('the socket to a target', () => {
  let canary: Awaited<ReturnType<typeof startCanary>>;
  beforeAll(async () => {
    canary = await startCanary();
  });

  it('connects to an address that is allowed, and to a name with such addresses', async () => {
    const { port } = await startCanary();
    expect(await read('127.0.0.1', port, { allowed: loopback })).toBe('hello');
    const resolve = async () => ['127.0.0.1'];
    expect(await read('target.test', port, { allowed: loopback, resolve })).toBe('hello');
  });

  it.each([
    '127.0.0.1',
    '::1',
    '::ffff:127.0.0.1',
    '10.0.0.1',
    '169.254.169.254',
    'fe80::1%lo',
  ])('does not connect to %s unless it is allowed', async (host) => {
    await expect(read(host, canary.port)).rejects.toEqual(problem('address-not-allowed'));
    expect(canary.accepted()).toBe(0);
  });

  it.each([
    [['127.0.0.1']],
    [['8.8.8.8', '127.0.0.1']],
    [['localhost']],
  ])('does not connect to a name with the addresses %j', async (addresses) => {
    const read2 = read('target.test', canary.port, { resolve: async () => addresses });
    await expect(read2).rejects.toEqual(problem('address-not-allowed'));
    expect(canary.accepted()).toBe(0);
  });

  it('fails for a name without an address', async () => {
    const none = read('target.test', canary.port, { resolve: async () => [] });
    await expect(none).rejects.toEqual(problem('name-not-found'));
    const resolve = () => Promise.reject(new Error('ENOTFOUND'));
    await expect(read('target.test', canary.port, { resolve })).rejects.toEqual(problem('name-not-found'));
  });

  it('connects without TLS only to loopback, or to what the rules for plaintext allow', async () => {
    const allowed = ['10.0.0.0/8', '127.0.0.0/8'];
    const plain = read('10.0.0.1', canary.port, { allowed, encrypted: false });
    await expect(plain).rejects.toEqual(problem('address-not-allowed'));
    const { port } = await startCanary();
    expect(await read('127.0.0.1', port, { allowed, encrypted: false })).toBe('hello');
    const isAllowedInPlaintext = createAddressRules(['10.0.0.0/8']);
    const elsewhere = read('127.0.0.1', port, { allowed, encrypted: false, isAllowedInPlaintext });
    await expect(elsewhere).rejects.toEqual(problem('address-not-allowed'));
    const refused = read('127.0.0.1', port, { encrypted: false });
    await expect(refused, 'the rules for plaintext allow nothing more').rejects.toEqual(
      problem('address-not-allowed'),
    );
  });

  it('does not connect to a Unix socket', async () => {
    const socket = createTargetSockets({ isAllowed: () => true })({ encrypted: true });
    socket.connect('/run/postgresql/.s.PGSQL.5432');
    const [error] = (await once(socket, 'error').catch((reason: unknown) => [reason])) as unknown[];
    expect(error).toEqual(problem('address-not-allowed'));
  });
});
