import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Channel } from 'amqplib';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Mapping } from '../../../src/engines/mapping.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { endAccount, failure, newPassword } from '../../engines/contract.ts';
import { soon } from '../../engines/target-options.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { logInByAmqp } from './rabbitmq-clients.ts';
import { permit, type RabbitmqSubject, useSubject } from './rabbitmq-subject.ts';

/** Tests what an account may do, what the admin account needs, and what reaches the log of the server. */
export function testAdmin(start: () => Promise<RabbitmqSubject>): void {
  let subject: RabbitmqSubject;
  let use: ReturnType<typeof useSubject>;
  beforeAll(async () => {
    subject = await start();
    use = useSubject(subject);
  });
  /** Makes an account with these mappings and returns a function that opens a channel of it. */
  async function logIn(mappings: readonly Mapping[]) {
    const account = await use.accounts.make({ mappings });
    const connection = await logInByAmqp(subject, account);
    return {
      account,
      /** A refusal closes the channel, so each attempt needs a new one. */
      async attempt(work: (channel: Channel) => unknown): Promise<void> {
        const channel = await connection.createConfirmChannel();
        const refused = new Promise((_resolve, reject) => channel.on('error', reject));
        const done = (async () => {
          await work(channel);
          await channel.waitForConfirms();
        })();
        await Promise.race([done, refused]);
        await channel.close();
      },
    };
  }

  describe('an account in RabbitMQ', () => {
    it('may do what one of its mappings permits, and nothing else', async () => {
      const { account, attempt } = await logIn([
        permit(subject.vhost, { configure: '^(one|two)$' }),
        permit(subject.vhost, { write: '^amq[.]default$' }),
        permit(subject.vhost, { read: '^one$' }),
      ]);
      await attempt((channel) => channel.assertQueue('one'));
      await attempt((channel) => channel.assertQueue('two'));
      await attempt((channel) => channel.sendToQueue('one', Buffer.from('hello')));
      await attempt(async (channel) => expect(await channel.get('one')).toBeTruthy());
      for (const work of [
        (channel: Channel) => channel.assertQueue('three'),
        (channel: Channel) => channel.publish('amq.fanout', '', Buffer.from('x')),
        (channel: Channel) => channel.get('two'),
      ]) {
        await expect(attempt(work)).rejects.toThrow(/ACCESS_REFUSED/);
      }
      await endAccount(use.target, account.name);
    });

    it('uses only the routing keys that a mapping permits, even if another mapping has no such restriction', async () => {
      const { account, attempt } = await logIn([
        permit(subject.vhost, {
          write: '^amq[.]topic$',
          topics: [{ exchange: 'amq.topic', write: '^mine[.]', read: '' }],
        }),
        permit(subject.vhost, { write: '.*' }),
      ]);
      await attempt((channel) => channel.publish('amq.topic', 'mine.a', Buffer.from('x')));
      await expect(
        attempt((channel) => channel.publish('amq.topic', 'other.a', Buffer.from('x'))),
      ).rejects.toThrow(/ACCESS_REFUSED/);
      await endAccount(use.target, account.name);
    });

    it('has no tag, so it cannot use the HTTP API, and limits of connections and channels', async () => {
      const account = await use.accounts.make();
      const asAccount = useSubject(subject, { username: account.name, password: account.password }).target;
      await expect(asAccount.checkHealth()).rejects.toEqual(failure('missing-privilege'));
      await expect(asAccount.rotateAdminCredential(soon('changed'))).rejects.toEqual(
        failure('missing-privilege'),
      );
      expect(await subject.asRoot('GET', ['users', account.name])).toMatchObject({
        tags: [],
        limits: { 'max-connections': 20, 'max-channels': 100 },
        hashing_algorithm: 'rabbit_password_hashing_sha256',
      });
      await endAccount(use.target, account.name);
    });

    it('is not left behind if one of its virtual hosts is missing', async () => {
      const account = { ...use.accounts.terms(), mappings: [subject.mappings[1], subject.missing] };
      await expect(use.target.create(account)).rejects.toEqual(failure('refused'));
      expect(await use.accounts.find(account.name)).toBeUndefined();
    });

    it('is not left behind if its deadline passes while it is made', async () => {
      const deadline = new Date(0);
      for (const requests of [1, 2, 3]) {
        const clock = new FakeClock();
        let checks = 0;
        // One check comes first, and one before each request.
        const now = (): Date => addSeconds(deadline, checks++ >= requests ? 1 : -1);
        const options = { ...subject.options, clock: Object.assign(clock, { now }) };
        const { target } = useSubject({ ...subject, options });
        const account = { ...use.accounts.terms(), deadline };
        await expect(target.create(account)).rejects.toEqual(failure('deadline-passed'));
        expect(checks).toBe(requests + 1);
        expect(await use.accounts.find(account.name)).toBeUndefined();
      }
    });
  });

  describe('the admin account in RabbitMQ', () => {
    it('needs the tag administrator for every call; each failure has the command that gives it', async () => {
      const { options } = subject;
      const { username } = options.connection;
      const setTags = (tags: string) =>
        subject.asRoot('PUT', ['users', username], { password: options.connection.password, tags });
      const command = `rabbitmqctl set_user_tags '${username}' administrator`;
      const account = await use.accounts.make();
      const { target } = use;
      for (const tags of ['', 'management', 'policymaker', 'monitoring']) {
        await setTags(tags);
        const calls = [
          target.create(use.accounts.terms()),
          target.disableAccess(account.name),
          target.endSessions(account.name),
          target.cleanUp(account.name),
          target.listAccounts('hp_'),
          target.rotateAdminCredential(soon(newPassword())),
        ];
        for (const result of await Promise.allSettled(calls)) {
          expect(result).toMatchObject({ reason: { problem: 'missing-privilege', statement: command } });
        }
        if (tags === '') continue;
        expect(await target.findProblems(subject.mappings)).toEqual([
          { problem: 'the admin account lacks the tag administrator', statement: command },
        ]);
      }
      await setTags('administrator');
      expect(await target.findProblems(subject.mappings)).toEqual([]);
      await endAccount(target, account.name);
    });

    it('keeps its tags when its password is changed', async () => {
      const { username, password } = subject.options.connection;
      await subject.asRoot('PUT', ['users', username], { password, tags: 'administrator,another' });
      const { target } = useSubject(subject);
      await target.rotateAdminCredential(soon(newPassword()));
      expect(await subject.asRoot('GET', ['users', username])).toMatchObject({
        tags: expect.arrayContaining(['administrator', 'another']),
      });
      await target.rotateAdminCredential(soon(password));
    });

    it('gets a problem for what a mapping names that is missing or has another type, or that agents cannot reach', async () => {
      const { target } = use;
      const topics = (exchange: string) =>
        permit(subject.vhost, { topics: [{ exchange, write: '', read: '' }] });
      const problemsOf = async (...mappings: Mapping[]) =>
        (await target.findProblems(mappings)).map(({ problem }) => problem);
      expect(await problemsOf(topics('amq.topic'))).toEqual([]);
      expect(await problemsOf(topics('none'))).toEqual([expect.stringMatching(/"none" .* does not exist$/)]);
      expect(await problemsOf(topics('amq.fanout'))).toEqual([
        expect.stringMatching(/is not a topic exchange/),
      ]);
      expect(await problemsOf(permit(subject.otherVhost, { read: 'a' }))).toEqual([
        expect.stringMatching(/^no mapping has a permission in the virtual host/),
      ]);
      expect(await target.findProblems([permit("it's", {})])).toEqual([
        { problem: `the virtual host "it's" does not exist`, statement: `rabbitmqctl add_vhost 'it'\\''s'` },
      ]);
    });

    it('gets a problem for replicas, because one node reaches the whole cluster', async () => {
      const { target } = useSubject(subject, { replicas: [{ host: '127.0.0.1', port: 1 }] });
      expect(await target.findProblems(subject.mappings)).toEqual([
        { problem: expect.stringMatching(/^RabbitMQ has no replicas/) },
      ]);
    });

    it('gets the reason if an account cannot open the virtual host of the leases', async () => {
      const { target, accounts } = useSubject(subject, { database: subject.otherVhost });
      const account = await accounts.make();
      const error: unknown = await target.holdSession(account).catch((reason: unknown) => reason);
      expect(error).toEqual(failure('login-refused'));
      expect(String(error)).toContain('may not open the virtual host');
      await endAccount(target, account.name);
    });
  });

  it('RabbitMQ has no password in its log, although it logs everything', async () => {
    const account = await use.accounts.make();
    await use.target.create(account).catch(() => {});
    await (await use.target.holdSession(account)).close();
    const another = newPassword();
    const { target } = useSubject(subject);
    await target.rotateAdminCredential(soon(another));
    await target.rotateAdminCredential(soon(subject.options.connection.password));
    await endAccount(use.target, account.name);
    const log = readdirSync(subject.logs)
      .map((name) => readFileSync(join(subject.logs, name), 'utf8'))
      .join('\n');
    expect(log).toContain(`Created user '${account.name}'`);
    for (const secret of [account.password, another, subject.options.connection.password]) {
      expect(log).not.toContain(secret);
    }
  });
}
