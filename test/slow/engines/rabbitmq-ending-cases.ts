import { once } from 'node:events';
import type { ChannelModel } from 'amqplib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Target } from '../../../src/engines/engine.ts';
import { endAccount, failure } from '../../engines/contract.ts';
import { eventually } from '../../support/eventually.ts';
import {
  logInByAmqp,
  logInByMqtt,
  logInByStomp,
  logInByStream,
  type RawSession,
  stopReading,
} from './rabbitmq-clients.ts';
import { permit, type RabbitmqSubject, useSubject } from './rabbitmq-subject.ts';

type Account = { name: string; password: string };

/** Tests the end of accounts whose agents do what they can to stay. */
export function testEnding(start: () => Promise<RabbitmqSubject>): void {
  describe('the end of an account in RabbitMQ', () => {
    let subject: RabbitmqSubject;
    let target: Target;
    let accounts: ReturnType<typeof useSubject>['accounts'];
    beforeAll(async () => {
      subject = await start();
      ({ target, accounts } = useSubject(subject));
    });
    const makeMighty = () =>
      accounts.make({ mappings: [permit(subject.vhost, { configure: '.*', write: '.*', read: '.*' })] });
    const sessionsOf = ({ name }: Account) =>
      subject.asRoot('GET', ['connections', 'username', name]) as Promise<{ name: string }[]>;

    it('ends every session of an agent that logs in all the time meanwhile', async () => {
      const account = await accounts.make();
      const storm = startStorm(() => logInByAmqp(subject, account));
      await eventually(async () => expect(storm.logins()).toBeGreaterThan(40));
      await target.disableAccess(account.name);
      const attempts = storm.attempts();
      await target.endSessions(account.name);
      // Logins that began after the account was disabled were tried, and all failed.
      await eventually(async () => expect(storm.attempts()).toBeGreaterThan(attempts + 20));
      expect(await storm.stop()).toEqual({ open: 0 });
      expect(await sessionsOf(account)).toEqual([]);
      await target.cleanUp(account.name);
    });

    it.each([
      ['MQTT', logInByMqtt],
      ['STOMP', logInByStomp],
      ['the stream protocol', logInByStream],
    ])('ends a session of %s, and refuses another', async (_what, logIn) => {
      const account = await accounts.make();
      const session: RawSession = await logIn(subject, account);
      await eventually(async () => expect(await sessionsOf(account)).not.toEqual([]));
      await target.disableAccess(account.name);
      await expect(logIn(subject, account)).rejects.toThrow(/refused|closed/);
      expect(await target.endSessions(account.name)).toBeGreaterThan(0);
      await eventually(async () => expect(session.hasEnded()).toBe(true));
      await target.cleanUp(account.name);
    });

    it('does not wait for the consent of a client that is silent', async () => {
      const account = await accounts.make();
      stopReading(await logInByAmqp(subject, account));
      await target.disableAccess(account.name);
      expect(await target.endSessions(account.name)).toBe(1);
      expect(await sessionsOf(account)).toEqual([]);
      await target.cleanUp(account.name);
    });

    it('sends nothing new to a client that stopped reading, and then does not delay the end of others', async () => {
      const [stuck, other] = [await makeMighty(), await accounts.make()];
      const { socket, received } = await consumeWithoutReading(subject, stuck);
      const session = await logInByAmqp(subject, other);
      await Promise.all([target.disableAccess(stuck.name), target.disableAccess(other.name)]);
      await publish(subject, await makeMighty(), 'later');
      // With few connections, so that the sessions must be closed one after the other.
      const options = { ...subject.options, maxConnections: 2 };
      const { target: narrow } = useSubject({ ...subject, options });
      const ending = narrow.endSessions(stuck.name);
      const otherEnding = narrow.endSessions(other.name);
      await once(session, 'close');
      expect(await sessionsOf(stuck)).toHaveLength(1);
      expect(await otherEnding).toBe(1);
      socket.resume();
      expect(await ending).toBe(1);
      expect(received().includes('earlier')).toBe(true);
      expect(received().includes('later')).toBe(false);
      await Promise.all([target.cleanUp(stuck.name), target.cleanUp(other.name)]);
    });

    it('takes the password and every permission, so that neither of them alone gives access', async () => {
      const account = await accounts.make({ mappings: subject.mappings });
      const permissions = () => subject.asRoot('GET', ['users', account.name, 'permissions']);
      expect(await permissions()).toHaveLength(2);
      await target.disableAccess(account.name);
      expect(await permissions()).toEqual([]);
      expect(await subject.asRoot('GET', ['users', account.name])).toMatchObject({
        password_hash: '',
        tags: [],
      });
      // As a request of a broker that was slow would do.
      const body = { configure: '', write: '', read: '.*' };
      await subject.asRoot('PUT', ['permissions', subject.vhost, account.name], body);
      for (const password of [account.password, '']) {
        const login = target.holdSession({ ...account, password });
        await expect(login).rejects.toEqual(failure('login-refused'));
      }
      await endAccount(target, account.name);
    });

    it('leaves what the account has declared, which belongs to the virtual host', async () => {
      const account = await makeMighty();
      const channel = await (await logInByAmqp(subject, account)).createChannel();
      await channel.assertQueue('kept');
      await channel.assertQueue('exclusive', { exclusive: true });
      expect(await endAccount(target, account.name)).toEqual({ isGone: true, ownedObjects: [] });
      const queues = (await subject.asRoot('GET', ['queues', subject.vhost])) as { name: string }[];
      expect(queues.map(({ name }) => name)).toContain('kept');
      expect(queues.map(({ name }) => name)).not.toContain('exclusive');
    });

    it('is refused for an account that can still log in', async () => {
      const { name } = await accounts.make();
      await expect(target.endSessions(name)).rejects.toEqual(failure('refused'));
      await expect(target.cleanUp(name)).rejects.toEqual(failure('refused'));
      await endAccount(target, name);
    });
  });
}

/** Logs in again and again, in parallel, and stays for a moment each time. */
function startStorm(logIn: () => Promise<ChannelModel>) {
  const counts = { logins: 0, attempts: 0, open: 0 };
  let isOver = false;
  const play = async (): Promise<void> => {
    while (!isOver) {
      counts.attempts += 1;
      const connection = await logIn().catch(() => undefined);
      if (connection === undefined) continue;
      counts.logins += 1;
      counts.open += 1;
      connection.on('close', () => {
        counts.open -= 1;
      });
      // The first ones stay open.
      if (counts.logins > 5) await connection.close().catch(() => {});
    }
  };
  const players = Array.from({ length: 8 }, play);
  return {
    logins: () => counts.logins,
    attempts: () => counts.attempts,
    async stop() {
      isOver = true;
      await Promise.all(players);
      return { open: counts.open };
    },
  };
}

const queue = 'large';
const messages = 400;

async function publish(subject: RabbitmqSubject, account: Account, first: string): Promise<void> {
  const connection = await logInByAmqp(subject, account);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(queue);
  for (let i = 0; i < messages; i += 1) channel.sendToQueue(queue, Buffer.from(first.padEnd(100_000)));
  await channel.waitForConfirms();
  await connection.close();
}

/** Opens a consumer of many messages that reads none of them: the server cannot send the rest of what it has begun. */
async function consumeWithoutReading(subject: RabbitmqSubject, account: Account) {
  await publish(subject, account, 'earlier');
  const connection = await logInByAmqp(subject, account);
  const channel = await connection.createChannel();
  const socket = stopReading(connection);
  void channel.consume(queue, () => {}, { noAck: true }).catch(() => {});
  await eventually(async () => {
    const { messages_ready: ready } = (await subject.asRoot('GET', ['queues', subject.vhost, queue])) as {
      messages_ready?: number;
    };
    if (ready === undefined || ready >= messages) throw new Error('the queue has sent nothing yet');
  });
  let text = '';
  socket.on('data', (data: Buffer) => {
    text += data.toString('latin1').replaceAll(' ', '');
  });
  socket.pause();
  return { socket, received: () => text };
}
