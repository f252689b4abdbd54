import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import { postgres } from '../../../src/engines/postgres/engine.ts';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { atEnd } from '../../support/at-end.ts';
import { failure } from '../contract.ts';
import { targetOptions } from '../target-options.ts';

const password = 'canary-of-the-admin-password';

/** Starts a server that does something else than PostgreSQL, and counts its connections. */
async function startServer(handle: (socket: Socket) => void) {
  let accepted = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    handle(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, accepted: () => accepted };
}

interface Change extends Partial<TargetConnection> {
  allowed?: string[];
  addresses?: string[];
}

function openTarget(port: number, { allowed = ['127.0.0.0/8'], addresses, ...change }: Change = {}) {
  const url = `postgres://admin:${password}@127.0.0.1:${port}/target`;
  const resolve = async (): Promise<string[]> => addresses ?? [];
  const target = postgres.open({
    ...targetOptions(url, change),
    timeoutMs: 300,
    createSocket: createTargetSockets({ isAllowed: createAddressRules(allowed), resolve }),
  });
  atEnd(() => target.close());
  return target;
}

const ignore = (): void => {};
/** Answers the request for TLS with one byte (PostgreSQL manual, Message Flow, SSL Session Encryption). */
const answer = (text: string) => (socket: Socket) => void socket.once('data', () => socket.write(text));

describe('a PostgreSQL target', () => {
  it.each([
    ['by its address', { allowed: [] }],
    ['by its address, with TLS', { allowed: [], tls: { mode: 'verify' } }],
    ['by a name', { allowed: [], host: 'target.test', addresses: ['127.0.0.1'] }],
    [
      'by a name with several addresses',
      { allowed: [], host: 'target.test', addresses: ['8.8.8.8', '127.0.0.1'] },
    ],
    ['as a path to a Unix socket', { host: '/var/run/postgresql' }],
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
  ] as const)('that %s fails every call with the reason', async (_what, handle, problem) => {
    const { port } = handle === undefined ? { port: 1 } : await startServer(handle);
    const target = openTarget(port);
    const error: unknown = await target.listAccounts('hp_').catch((reason: unknown) => reason);
    expect(error).toEqual(failure(problem));
    expect(JSON.stringify(error) + String(error)).not.toContain(password);
  });

  it('with an unknown name fails with the reason', async () => {
    const target = openTarget(1, { host: 'target.test', addresses: [] });
    await expect(target.checkHealth()).rejects.toEqual(failure('name-not-found'));
  });

  it.each([
    ['refuses it', answer('N')],
    ['answers in the clear before it begins', answer('SR\0\0\0\x08\0\0\0\0')],
    ['has no certificate', answer('S15')],
  ])('that must have TLS is not used if it %s', async (_what, handle) => {
    const { port } = await startServer(handle);
    await expect(openTarget(port, { tls: { mode: 'verify' } }).checkHealth()).rejects.toEqual(
      failure('tls-failed'),
    );
  });

  it.each([
    [{ rules: '+@read' }, 'a scope of a postgres resource maps to roles'],
    [{ roles: [] }, 'roles needs 1 to 20 names'],
    [{ roles: ['a', ''] }, 'the name of a role has 1 to 63 bytes and no control characters'],
    [{ roles: ['é'.repeat(32)] }, 'the name of a role has 1 to 63 bytes and no control characters'],
    [{ roles: ['a\0b'] }, 'the name of a role has 1 to 63 bytes and no control characters'],
  ])('does not accept the mapping %j', async (mapping, problem) => {
    expect(postgres.mappingProblem(mapping)).toBe(problem);
    await expect(openTarget(1).findProblems([mapping])).rejects.toEqual(failure('refused'));
  });

  it('accepts a mapping to roles with any other name', () => {
    expect(postgres.mappingProblem({ roles: [`it's "the" role; --`] })).toBeUndefined();
  });
});
