import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { endAccount, failure, newPassword } from '../../engines/contract.ts';
import { testCa } from '../../outbound/https-server.ts';
import { isRabbitmqMissing } from '../support/rabbitmq-node.ts';
import { makeAuthority } from './certificate-authority.ts';
import { prepareRabbitmq, type RabbitmqSubject, useSubject } from './rabbitmq-subject.ts';

const read = (name: string): string =>
  readFileSync(join(import.meta.dirname, '../../outbound/certificates', name), 'utf8');

describe.skipIf(isRabbitmqMissing)('a RabbitMQ target with TLS', () => {
  let subject: RabbitmqSubject;
  beforeAll(async () => {
    const files = { 'server.pem': read('server.pem'), 'server-key.pem': read('server-key.pem') };
    subject = await prepareRabbitmq({ certificate: files });
  });
  const open = (change: Parameters<typeof useSubject>[1]) => useSubject(subject, change);

  it('is used if its certificate is from the configured authority: the HTTP API and AMQP are encrypted', async () => {
    const { target, accounts } = open({ tls: { mode: 'verify', ca: testCa } });
    const account = await accounts.make();
    const session = await target.holdSession(account);
    expect(await session.hasEnded()).toBe(false);
    await endAccount(target, account.name);
    expect(await session.hasEnded()).toBe(true);
    await session.close();
    // Both ports speak nothing but TLS.
    const { port, endpoint } = subject.options.connection;
    for (const plain of [port, endpoint.port]) expect(await answerInTheClear(plain)).not.toMatch(/HTTP|AMQP/);
  });

  it('is refused if its certificate is from another authority, from none that Node trusts, or if the authority is none', async () => {
    for (const ca of [await makeAuthority(), undefined, 'nonsense']) {
      const { target } = open({ tls: { mode: 'verify', ca } });
      await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
      const login = target.holdSession({ name: 'hp_1', password: newPassword() });
      await expect(login).rejects.toEqual(failure('tls-failed'));
    }
  });

  it('is refused if its certificate is for another host', async () => {
    const createSocket = createTargetSockets({
      isAllowed: createAddressRules(['127.0.0.0/8']),
      resolve: async () => ['127.0.0.1'],
    });
    const { connection } = subject.options;
    const named = (host: string) =>
      useSubject(
        { ...subject, options: { ...subject.options, createSocket } },
        { host, endpoint: { host, port: connection.endpoint.port }, tls: { mode: 'verify', ca: testCa } },
      );
    const right = named('issuer.test');
    const account = await right.accounts.make();
    await (await right.target.holdSession(account)).close();
    await endAccount(right.target, account.name);
    const { target } = named('other.test');
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
    await expect(target.holdSession(account)).rejects.toEqual(failure('tls-failed'));
  });

  it('is refused without TLS', async () => {
    const { target } = open({ tls: { mode: 'off' } });
    await expect(target.checkHealth()).rejects.toEqual(failure('refused'));
  });
});

/** Returns what a port answers to requests without TLS. */
async function answerInTheClear(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('GET / HTTP/1.0\r\n\r\n');
  let text = '';
  socket.on('data', (data: Buffer) => {
    text += data.toString('latin1');
  });
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}
