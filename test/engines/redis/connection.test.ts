import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { TargetConnection } from '../../../src/engines/engine.ts';
import { redis } from '../../../src/engines/redis/engine.ts';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { atEnd } from '../../support/at-end.ts';
import { failure } from '../contract.ts';
import { targetOptions } from '../target-options.ts';

const password = 'canary_of_the_admin_password';
const account = { name: 'hp_1', password: 'canary_of_the_account_password' };

/** Starts a server that does something else than Redis, and counts its connections. */
async function startServer(handle: (socket: Socket) => void) {
  let accepted = 0;
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    accepted += 1;
    open.add(socket);
    socket.on('error', ignore).on('close', () => open.delete(socket));
    handle(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(async () => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, accepted: () => accepted, open };
}

interface Change extends Partial<TargetConnection> {
  allowed?: string[];
  addresses?: string[];
}

function openTarget(port: number, { allowed = ['127.0.0.0/8'], addresses, ...change }: Change = {}) {
  const resolve = async (): Promise<string[]> => addresses ?? [];
  const target = redis.open({
    ...targetOptions(`redis://admin:${password}@127.0.0.1:${port}/`, change),
    timeoutMs: 300,
    createSocket: createTargetSockets({ isAllowed: createAddressRules(allowed), resolve }),
  });
  atEnd(() => target.close());
  return target;
}

const ignore = (): void => {};
const listen = (socket: Socket): void => void socket.resume();
const onData = (act: (socket: Socket, text: string) => unknown) => (socket: Socket) => {
  socket.on('data', (data) => act(socket, String(data)));
};
const answer = (text: string) => onData((socket) => socket.write(text));

describe('a Redis target', () => {
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
    const canary = await startServer(listen);
    const target = openTarget(canary.port, change);
    await expect(target.checkHealth()).rejects.toEqual(failure('address-not-allowed'));
    await expect(target.holdSession(account)).rejects.toEqual(failure('address-not-allowed'));
    expect(canary.accepted()).toBe(0);
  });

  it('whose replica is at an address that is not allowed is never connected to there', async () => {
    const [canary, primary] = [await startServer(listen), await startServer(answer('+OK\r\n'))];
    const replicas = [{ host: 'replica.test', port: canary.port }];
    const target = openTarget(primary.port, { replicas, addresses: ['10.0.0.1'] });
    await expect(target.checkHealth()).rejects.toEqual(failure('address-not-allowed'));
    expect(canary.accepted()).toBe(0);
  });

  it('outside of this machine is not connected to without TLS', async () => {
    const target = openTarget(1, { allowed: ['10.0.0.0/8'], host: '10.1.1.1' });
    await expect(target.checkHealth()).rejects.toEqual(failure('address-not-allowed'));
  });

  it('with an unknown name fails with the reason', async () => {
    for (const host of ['target.test', '/var/run/redis.sock']) {
      const target = openTarget(1, { host, addresses: [] });
      await expect(target.checkHealth()).rejects.toEqual(failure('name-not-found'));
    }
  });

  const echo = `-ERR unknown command 'AUTH', with args beginning with: 'admin' '${password}' '${account.password}'\r\n`;
  it.each([
    ['refuses connections', undefined, 'unreachable'],
    ['closes every connection', (socket: Socket) => socket.end(), 'unreachable'],
    ['closes after a command', onData((socket) => socket.end()), 'unreachable'],
    ['does not answer', listen, 'timed-out'],
    [
      'answers the login only',
      onData((socket, text) => text.includes('AUTH') && socket.write('+OK\r\n')),
      'timed-out',
    ],
    ['is loading', answer('-LOADING Redis is loading the dataset in memory\r\n'), 'unreachable'],
    ['runs a script', answer('-BUSY Redis is busy running a script.\r\n'), 'unreachable'],
    ['has too many clients', answer('-ERR max number of clients reached\r\n'), 'unreachable'],
    ['refuses the login', answer('-WRONGPASS invalid username-password pair\r\n'), 'login-refused'],
    ['does not know AUTH, and repeats it', answer(echo), 'refused'],
    [
      'repeats the password',
      onData((socket, text) => socket.write(`-ERR ${text.replace(/\s+/g, ' ')}\r\n`)),
      'refused',
    ],
    ['is another kind of server', answer('HTTP/1.1 400 Bad Request\r\n\r\n'), 'unreachable'],
  ] as const)('that %s fails every call with the reason', async (_what, handle, problem) => {
    const { port } = handle === undefined ? { port: 1 } : await startServer(handle);
    const target = openTarget(port);
    const calls = [
      () => target.listAccounts('hp_'),
      () => target.endSessions('hp_1'),
      () => target.holdSession(account),
    ];
    for (const call of calls.slice(0, problem === 'timed-out' ? 2 : 3)) {
      const error = (await call().catch((reason: unknown) => reason)) as Error;
      expect(error).toEqual(failure(problem));
      const text = [JSON.stringify(error), String(error), error.stack, JSON.stringify(error.cause)].join();
      expect(text).not.toContain('canary');
    }
  });

  it('that does not answer keeps no connection after the timeout, and gets no command later', async () => {
    const silent = await startServer(listen);
    const target = openTarget(silent.port);
    const calls = [target.checkHealth(), target.disableAccess('hp_1'), target.holdSession(account)];
    for (const call of calls) await expect(call).rejects.toEqual(failure('timed-out'));
    await expect.poll(() => silent.open.size).toBe(0);
    const accepted = silent.accepted();
    expect(accepted).toBeLessThanOrEqual(calls.length);
  });

  it('is reached by one connection for many calls, which ends when the target is closed', async () => {
    const server = await startServer(answer('+OK\r\n'.repeat(1)));
    const target = openTarget(server.port);
    await Promise.allSettled(Array.from({ length: 50 }, () => target.checkHealth()));
    expect(server.accepted()).toBe(1);
    await target.close();
    await expect.poll(() => server.open.size).toBe(0);
    await expect(target.checkHealth()).rejects.toEqual(failure('unreachable'));
    expect(server.accepted()).toBe(1);
  });

  it.each([
    ['answers in the clear', answer('-ERR no TLS here\r\n'), 'tls-failed'],
    ['closes the connection', onData((socket) => socket.end()), 'unreachable'],
    ['never answers', listen, 'timed-out'],
  ] as const)('that must have TLS is not used if it %s', async (_what, handle, problem) => {
    const server = await startServer(handle);
    const target = openTarget(server.port, { tls: { mode: 'verify' } });
    await expect(target.checkHealth()).rejects.toEqual(failure(problem));
    await expect.poll(() => server.open.size).toBe(0);
  });
});
