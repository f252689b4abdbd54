import { once } from 'node:events';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { NewAccount, TargetConnection } from '../../../src/engines/engine.ts';
import { rabbitmq } from '../../../src/engines/rabbitmq/engine.ts';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { atEnd } from '../../support/at-end.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { failure } from '../contract.ts';
import { targetOptions } from '../target-options.ts';

const password = 'canary-of-the-admin-password';

async function listen(server: Server) {
  const sockets = new Set<Socket>();
  let accepted = 0;
  server.on('connection', (socket) => {
    accepted += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, accepted: () => accepted, open: () => sockets.size };
}

interface Change extends Partial<TargetConnection> {
  allowed?: string[];
  addresses?: string[];
  clock?: FakeClock;
  timeoutMs?: number;
}

function openTarget(
  port: number,
  { allowed = ['127.0.0.0/8'], addresses, clock, timeoutMs = 300, ...change }: Change = {},
) {
  const url = `http://admin:${password}@127.0.0.1:${port}`;
  const resolve = async (): Promise<string[]> => addresses ?? [];
  const target = rabbitmq.open({
    ...targetOptions(url, change),
    ...(clock === undefined ? {} : { clock }),
    timeoutMs,
    createSocket: createTargetSockets({ isAllowed: createAddressRules(allowed), resolve }),
  });
  atEnd(() => target.close());
  return target;
}

const ignore = (): void => {};
/** Reads without answering, so that the end of the connection is noticed. */
const read = (socket: Socket): void => void socket.resume();
const answer =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, headers).end(body);
const reasonOf = (promise: Promise<unknown>) => promise.then(ignore, (reason: unknown) => reason);

describe('a RabbitMQ target', () => {
  it.each([
    ['by its address', { allowed: [] }],
    ['by its address, with TLS', { allowed: [], tls: { mode: 'verify' } }],
    ['by a name', { allowed: [], host: 'target.test', addresses: ['127.0.0.1'] }],
    ['by a name with several', { allowed: [], host: 'target.test', addresses: ['8.8.8.8', '127.0.0.1'] }],
  ] satisfies [
    string,
    Change,
  ][])('at an address that is not allowed is never connected to: %s', async (_what, change: Change) => {
    const canary = await listen(createServer(ignore));
    const endpoint = { host: change.host ?? '127.0.0.1', port: canary.port };
    const target = openTarget(canary.port, { ...change, endpoint });
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
    ['closes every connection', (socket: Socket) => socket.resume().end(), 'unreachable'],
    ['does not answer', read, 'timed-out'],
    ['does not speak HTTP', (socket: Socket) => socket.resume().write('AMQP\0\0\x09\x01'), 'refused'],
  ] as const)('that %s fails every call with the reason', async (_what, handle, problem) => {
    const server = handle === undefined ? undefined : await listen(createServer(handle));
    const target = openTarget(server?.port ?? 1);
    const error = await reasonOf(target.listAccounts('hp_'));
    expect(error).toEqual(failure(problem));
    expect(JSON.stringify(error) + String(error)).not.toContain(password);
    await target.close();
    if (server !== undefined) await expect.poll(server.open).toBe(0);
  });

  it('with an unknown name fails with the reason', async () => {
    const target = openTarget(1, { host: 'target.test', addresses: [] });
    await expect(target.checkHealth()).rejects.toEqual(failure('name-not-found'));
  });

  it('that must have TLS is not used if it has none', async () => {
    const { port } = await listen(createHttp(answer(200, '{}')));
    await expect(openTarget(port, { tls: { mode: 'verify' } }).checkHealth()).rejects.toEqual(
      failure('tls-failed'),
    );
  });

  it.each([
    'off',
    'verify',
  ] as const)('that does not answer leaves no socket, neither for calls nor for a session (TLS: %s)', async (mode) => {
    const silent = await listen(createServer(read));
    const endpoint = { host: '127.0.0.1', port: silent.port };
    const target = openTarget(silent.port, { endpoint, tls: { mode } });
    const login = target.holdSession({ name: 'hp_1', password: 'p'.repeat(43) });
    const calls = await Promise.allSettled([login, target.checkHealth()]);
    expect(calls).toEqual(calls.map(() => ({ status: 'rejected', reason: failure('timed-out') })));
    expect(silent.accepted()).toBeGreaterThanOrEqual(2);
    await expect.poll(silent.open, { timeout: 10_000 }).toBe(0);
  });

  it.each([
    ['a redirect', answer(307, '', { location: 'http://127.0.0.1:1/api/whoami' }), 'refused'],
    ['a body that is too large', answer(200, ' '.repeat(17 * 1024 * 1024)), 'refused'],
    ['another status', answer(418, '<p>no</p>'), 'refused'],
    ['a broken server', answer(500, ''), 'refused'],
    ['a proxy without the server', answer(502, ''), 'unreachable'],
    ['a proxy that forbids it', answer(403, ''), 'missing-privilege'],
  ] as const)('that answers with %s fails with the reason', async (_what, listener, problem) => {
    const { port } = await listen(createHttp(listener));
    const target = openTarget(port, { timeoutMs: 20_000 });
    await expect(target.checkHealth()).rejects.toEqual(failure(problem));
  });

  it('that answers with something else than RabbitMQ is refused', async () => {
    const { port } = await listen(createHttp(answer(200, '{"items":[]}')));
    const target = openTarget(port);
    for (const call of [target.listAccounts('hp_'), target.endSessions('hp_1'), target.identify()]) {
      expect(await reasonOf(call)).toEqual(failure('refused'));
    }
  });

  it('that repeats what it got never puts the password into an error', async () => {
    const { port } = await listen(
      createHttp((request, response) => {
        const reason = `${request.headers.authorization} ${password}`;
        response.writeHead(400).end(JSON.stringify({ reason }));
      }),
    );
    const error = await reasonOf(openTarget(port).checkHealth());
    expect(error).toEqual(failure('refused'));
    expect(String(error)).toContain('***');
    for (const secret of [password, btoa(`admin:${password}`)]) expect(String(error)).not.toContain(secret);
  });

  it('gets no request that makes something once the deadline has passed, and removes what was made before', async () => {
    for (const allowedRequests of [0, 1, 2]) {
      const clock = new FakeClock();
      const requests: string[] = [];
      const { port } = await listen(
        createHttp((request, response) => {
          requests.push(`${request.method} ${request.url}`);
          // The answer takes longer than the deadline.
          if (requests.length >= allowedRequests) clock.advance(60);
          response.writeHead(204).end();
        }),
      );
      if (allowedRequests === 0) clock.advance(60);
      const made = openTarget(port, { clock }).create(newAccount(new FakeClock()));
      await expect(made).rejects.toEqual(failure('deadline-passed'));
      const expected = ['PUT /api/users/hp_1', 'PUT /api/permissions/%2F/hp_1'].slice(0, allowedRequests);
      const removal = allowedRequests === 0 ? [] : ['DELETE /api/users/hp_1'];
      expect(requests).toEqual([...expected, ...removal]);
    }
  });

  it('gets no request that makes something if the deadline passes while it is being connected to', async () => {
    const clock = new FakeClock();
    const requests: string[] = [];
    const server = createHttp((request, response) => {
      requests.push(`${request.method}`);
      response.writeHead(204).end();
    });
    const { port } = await listen(server);
    const createSocket = createTargetSockets({ isAllowed: createAddressRules(['127.0.0.0/8']) });
    const target = rabbitmq.open({
      ...targetOptions(`http://admin:${password}@127.0.0.1:${port}`),
      clock,
      // The deadline passes when the socket is made, which is after the first check.
      createSocket: (use) => {
        clock.advance(60);
        return createSocket(use);
      },
    });
    atEnd(() => target.close());
    await expect(target.create(newAccount(clock))).rejects.toEqual(failure('deadline-passed'));
    expect(requests).toEqual([]);
  });
});

function newAccount(clock: FakeClock): NewAccount {
  return {
    name: 'hp_1',
    password: 'p'.repeat(43),
    mappings: [{ permissions: [{ vhost: '/', configure: '', write: '', read: 'a' }] }],
    expiresAt: addSeconds(clock.now(), 600),
    deadline: addSeconds(clock.now(), 30),
  };
}
