import { generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import { mysql } from '../../../src/engines/mysql/engine.ts';
import { computeProof, computeVerifier } from '../../../src/engines/mysql/native-password.ts';
import { parseVersion } from '../../../src/engines/mysql/version.ts';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { atEnd } from '../../support/at-end.ts';
import { eventually } from '../../support/eventually.ts';
import { failure } from '../contract.ts';
import { targetOptions } from '../target-options.ts';

const password = 'canary-of-the-admin-password';

/** Starts a server that does something else than MariaDB, and counts its connections. */
async function startServer(handle: (socket: Socket) => void) {
  let accepted = 0;
  let open = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    accepted += 1;
    open += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      open -= 1;
    });
    handle(socket);
    // Without a reader, the end of a connection is not noticed.
    socket.resume();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, accepted: () => accepted, open: () => open };
}

interface Change extends Partial<TargetConnection> {
  allowed?: string[];
  addresses?: string[];
  maxConnections?: number;
}

function openTarget(
  port: number,
  { allowed = ['127.0.0.0/8'], addresses, maxConnections = 4, ...change }: Change = {},
) {
  const url = `mysql://admin:${password}@127.0.0.1:${port}/target`;
  const resolve = async (): Promise<string[]> => addresses ?? [];
  const target = mysql.open({
    ...targetOptions(url, change),
    maxConnections,
    timeoutMs: 300,
    createSocket: createTargetSockets({ isAllowed: createAddressRules(allowed), resolve }),
  });
  atEnd(() => target.close());
  return target;
}

const ignore = (): void => {};

/** Returns a packet: its size, its sequence number, its content. */
function packet(sequence: number, content: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUIntLE(content.length, 0, 3);
  head[3] = sequence;
  return Buffer.concat([head, content]);
}

/** Returns the first packet of a server (MariaDB, Connecting, Initial Handshake Packet). */
function greeting(version: string, method: string, { tls = false } = {}): Buffer {
  const capabilities = 0x2 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000 | (tls ? 0x800 : 0);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(capabilities);
  return packet(
    0,
    Buffer.concat([
      Buffer.from([10]),
      Buffer.from(`${version}\0`),
      Buffer.from([1, 0, 0, 0]),
      Buffer.from('seedseed\0'),
      flags.subarray(0, 2),
      Buffer.from([45, 2, 0]),
      flags.subarray(2),
      Buffer.from([21]),
      Buffer.alloc(10),
      Buffer.from('seedseedseed\0'),
      Buffer.from(`${method}\0`),
    ]),
  );
}

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const seed = 'seedseedseedseedseed';

/**
 * Greets, and answers the login with a request to use another method. Offers its own key to a client that would encrypt the password.
 * `answers` gets what the client sends, and what it has encrypted.
 */
function asksFor(method: string, answers: Buffer[]) {
  return (socket: Socket): void => {
    socket.write(greeting('10.11.6-MariaDB', 'mysql_native_password'));
    socket.once('data', (data) => {
      answers.push(data);
      socket.write(packet(2, Buffer.from(`\xfe${method}\0${seed}\0`, 'latin1')));
      socket.on('data', (more) => {
        answers.push(more);
        const content = more.subarray(4);
        const asksForKey = content.length === 1 && [1, 2].includes(content[0] ?? 0);
        const key = publicKey.export({ type: 'spki', format: 'pem' });
        if (asksForKey) socket.write(packet((more[3] ?? 0) + 1, Buffer.from(`\x01${String(key)}`)));
        else socket.end();
        if (content.length === 256) answers.push(decrypt(content));
      });
    });
  };
}

function decrypt(content: Buffer): Buffer {
  const masked = privateDecrypt({ key: privateKey, oaepHash: 'sha1' }, content);
  return Buffer.from(masked.map((byte, index) => byte ^ seed.charCodeAt(index % seed.length)));
}

describe('a MariaDB target', () => {
  it.each([
    ['by its address', { allowed: [] }],
    ['by its address, with TLS', { allowed: [], tls: { mode: 'verify' } }],
    ['by a name', { allowed: [], host: 'target.test', addresses: ['127.0.0.1'] }],
    [
      'by a name with several addresses',
      { allowed: [], host: 'target.test', addresses: ['8.8.8.8', '127.0.0.1'] },
    ],
  ] satisfies [
    string,
    Change,
  ][])('at an address that is not allowed is never connected to: %s', async (_what, change) => {
    const canary = await startServer(ignore);
    const target = openTarget(canary.port, change);
    const account = { name: 'hp_1', password: 'p'.repeat(43) };
    await expect(target.checkHealth()).rejects.toEqual(failure('address-not-allowed'));
    await expect(target.holdSession(account)).rejects.toEqual(failure('address-not-allowed'));
    expect(canary.accepted()).toBe(0);
  });

  it('outside of this machine is not connected to without TLS', async () => {
    const target = openTarget(1, { allowed: ['10.0.0.0/8'], host: '10.1.1.1' });
    await expect(target.checkHealth()).rejects.toEqual(failure('address-not-allowed'));
  });

  it.each([
    ['refuses connections', undefined, 'unreachable'],
    ['closes every connection', (socket: Socket) => socket.end(), 'unreachable'],
    ['does not answer', ignore, 'timed-out'],
    [
      'stops after its greeting',
      (socket: Socket) => socket.write(greeting('10.11.6-MariaDB', 'mysql_native_password')),
      'timed-out',
    ],
    [
      'speaks another protocol',
      (socket: Socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'timed-out',
    ],
  ] as const)('that %s fails every call with the reason, and no connection stays', async (_what, handle, problem) => {
    const server = handle === undefined ? { port: 1, open: () => 0 } : await startServer(handle);
    const target = openTarget(server.port);
    const errors: unknown[] = await Promise.all(
      Array.from({ length: 8 }, () => target.listAccounts('hp_').catch((reason: unknown) => reason)),
    );
    expect(errors).toEqual(errors.map(() => failure(problem)));
    expect(JSON.stringify(errors) + errors.map(String).join()).not.toContain(password);
    await eventually(async () => expect(server.open()).toBe(0));
  });

  it('has at most as many connections as allowed, and none after it is closed', async () => {
    let most = 0;
    const server = await startServer(() => {
      most = Math.max(most, server.open());
    });
    const target = openTarget(server.port, { maxConnections: 2 });
    const calls = Promise.allSettled(Array.from({ length: 10 }, () => target.checkHealth()));
    await eventually(async () => expect(server.open()).toBe(2));
    await target.close();
    expect((await calls).every(({ status }) => status === 'rejected')).toBe(true);
    await eventually(async () => expect(server.open()).toBe(0));
    expect(most).toBe(2);
    await expect(target.checkHealth()).rejects.toThrow('the target is closed');
  });

  it('with an unknown name fails with the reason', async () => {
    const target = openTarget(1, { host: 'target.test', addresses: [] });
    await expect(target.checkHealth()).rejects.toEqual(failure('name-not-found'));
  });

  it.each([
    ['does not offer it', false],
    ['offers it and answers with something else', true],
  ])('that must have TLS is not used if it %s', async (_what, tls) => {
    const received: Buffer[] = [];
    const server = await startServer((socket) => {
      socket.write(greeting('10.11.6-MariaDB', 'mysql_native_password', { tls }));
      socket.once('data', () => socket.write('this is not an answer of TLS'));
      socket.on('data', (data) => received.push(data));
    });
    const target = openTarget(server.port, { tls: { mode: 'verify' } });
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
    expect(Buffer.concat(received).toString('latin1')).not.toContain('admin');
  });

  it.each([
    'mysql_clear_password',
    'sha256_password',
    'caching_sha2_password',
    'dialog',
    'client_ed25519',
  ])('that asks for the password with %s never gets it', async (method) => {
    const answers: Buffer[] = [];
    const server = await startServer(asksFor(method, answers));
    await expect(openTarget(server.port).checkHealth()).rejects.toMatchObject({ name: 'TargetFailure' });
    expect(answers.length).toBeGreaterThan(0);
    const sent = Buffer.concat(answers);
    for (const secret of [Buffer.from(password), computeProof(password)])
      expect(sent.includes(secret)).toBe(false);
  });

  it('that is MySQL has this as its problem', async () => {
    const refuses = (socket: Socket): void => {
      socket.write(greeting('8.0.36', 'caching_sha2_password'));
      socket.once('data', () =>
        socket.write(packet(2, Buffer.from('\xff\x15\x04#28000Access denied', 'latin1'))),
      );
    };
    const { port } = await startServer(refuses);
    expect(await openTarget(port).findProblems([{ roles: ['reader'] }])).toEqual([
      { problem: 'the server is not MariaDB; MariaDB 10.6 or newer is needed' },
    ]);
    await expect(openTarget(port).checkHealth()).rejects.toEqual(failure('refused'));
  });

  it.each([
    ['10.11.6-MariaDB-0+deb12u1-log', true],
    ['10.6.0-MariaDB', true],
    ['11.4.2-MariaDB-ubu2404', true],
    ['10.5.29-MariaDB', false],
    ['9.9.9-MariaDB', false],
    ['8.0.36', false],
    ['10.11.6', false],
  ])('with the version %s can be used: %s', (text, isUsed) => {
    expect(parseVersion(text) !== undefined).toBe(isUsed);
  });

  const rule =
    'the name of a role has 1 to 128 characters, none of them control characters, no space at an end, and is no reserved word';
  it.each([
    [{ rules: '+@read' }, 'a scope of a mysql resource maps to roles'],
    [{ roles: [] }, 'roles needs 1 to 20 names'],
    [{ roles: ['a', ''] }, rule],
    [{ roles: ['é'.repeat(129)] }, rule],
    [{ roles: ['a\0b'] }, rule],
    [{ roles: ['reader '] }, rule],
    [{ roles: ['None'] }, rule],
    [{ roles: ['PUBLIC'] }, rule],
  ])('does not accept the mapping %j', async (mapping, problem) => {
    expect(mysql.mappingProblem(mapping)).toBe(problem);
    await expect(openTarget(1).findProblems([mapping])).rejects.toEqual(failure('refused'));
  });

  it('accepts a mapping to roles with any other name', () => {
    expect(mysql.mappingProblem({ roles: ['it`s "the" role\'; -- \\', 'é'.repeat(128)] })).toBeUndefined();
  });

  it('gets a verifier of a password, as the function PASSWORD computes it', () => {
    expect(computeVerifier('password')).toBe('*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19');
  });
});
