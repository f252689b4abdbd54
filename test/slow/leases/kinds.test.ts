import { describe, expect, it } from 'vitest';
import { engines } from '../../../src/engines/engines.ts';
import type { EngineKind } from '../../../src/engines/terms.ts';
import type { ContractSubject } from '../../engines/contract.ts';
import { isMariadbMissing, startMariadb } from '../../engines/mysql/mariadb-server.ts';
import { prepareMariadb } from '../../engines/mysql/subject.ts';
import { isRedisMissing, startRedis } from '../../engines/redis/server.ts';
import { toSubject } from '../../engines/redis/subject.ts';
import { permitAll } from '../../oauth/fixtures.ts';
import {
  type Api,
  asBootstrap,
  createAgent,
  createPolicy,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { prepareRabbitmq } from '../engines/rabbitmq-subject.ts';
import { isRabbitmqMissing } from '../support/rabbitmq-node.ts';
import { logIns } from './log-ins.ts';

interface Kind {
  kind: EngineKind;
  isMissing: boolean;
  start: () => Promise<ContractSubject>;
}

const kinds: Kind[] = [
  {
    kind: 'mysql',
    isMissing: isMariadbMissing,
    start: async () => prepareMariadb(await startMariadb()),
  },
  {
    kind: 'redis',
    isMissing: isRedisMissing,
    start: async () => toSubject(await startRedis()),
  },
  {
    kind: 'rabbitmq',
    isMissing: isRabbitmqMissing,
    start: async () => {
      const subject = await prepareRabbitmq();
      await subject.asRoot('PUT', ['queues', subject.vhost, 'orders'], {});
      return subject;
    },
  },
];

describe.each(kinds.filter(({ isMissing }) => !isMissing))('leases of kind $kind', ({ kind, start }) => {
  const logIn = logIns[kind];
  const clock = new FakeClock();
  let broker: TestBroker;
  let subject: ContractSubject;
  let admin: Api;
  let agent: TestAgent;
  let resource: { id: string; identifier: string };

  async function setUp(): Promise<void> {
    subject = await start();
    broker = await startBroker({ clock, overrides: { engines } });
    admin = asBootstrap(broker);
    await createPolicy(broker, permitAll);
    agent = await createAgent(broker);
    const { host, port, database, username, password, endpoint } = subject.options.connection;
    const body = {
      identifier: `${kind}://target.internal/orders`,
      name: 'Orders',
      kind,
      scopes: [{ name: 'use', description: 'Use orders', risk: 'low', ...subject.mappings[0] }],
      max_grant_seconds: 3600,
      connection: { host, port, database, username, password, endpoint, tls: { mode: 'off' } },
    };
    const created = await admin.post('/v1/resources', body);
    expect([created.status, created.body.problems]).toEqual([201, undefined]);
    resource = created.body;
  }

  async function lease(durationSeconds: number) {
    const api = await agent.api();
    const terms = {
      resource: resource.identifier,
      scopes: ['use'],
      duration_seconds: durationSeconds,
      reason: 'test',
    };
    const grant = (await api.post('/v1/grants', terms).expect(201)).body;
    return (await api.post('/v1/leases', { grant_id: grant.id }).expect(201)).body;
  }

  const read = async ({ id }: { id: string }) => (await admin.get(`/v1/leases/${id}`).expect(200)).body;

  it('permit what their scope means and nothing else; when they expire, their sessions and accounts are gone', async () => {
    await setUp();
    const made = await lease(60);
    expect(made).toMatchObject({ kind, fence: 'none', status: 'active' });
    const session = await logIn(made.credential);
    await session.use();
    await expect(session.misuse()).rejects.toThrow();
    const other = await logIn(made.credential);
    clock.advance(60);
    await broker.worker.endLeases();
    await expect(other.use()).rejects.toThrow();
    await expect(logIn(made.credential)).rejects.toThrow();
    expect(await read(made)).toMatchObject({ status: 'revoked', last_error: null, attempts: 0 });
    expect((await read(made)).cleaned_up_at).not.toBeNull();
    await Promise.all([session.close(), other.close()]);
  });

  it('end by a revocation, 20 at the same time', async () => {
    const all = [];
    for (let n = 0; n < 20; n += 1) all.push(await lease(600));
    const sessions = await Promise.all(all.map(({ credential }) => logIn(credential)));
    await Promise.all(all.map(({ id }) => admin.post(`/v1/leases/${id}/revoke`).expect(200)));
    await broker.worker.endLeases();
    for (const made of all) expect(await read(made)).toMatchObject({ status: 'revoked', last_error: null });
    const uses = await Promise.allSettled(sessions.map((session) => session.use()));
    expect(uses.every(({ status }) => status === 'rejected')).toBe(true);
    const compared = (await admin.post(`/v1/resources/${resource.id}/reconcile`).expect(200)).body;
    expect(compared).toMatchObject({ accounts: 0, destroyed: [], failed: [] });
    await Promise.all(sessions.map((session) => session.close()));
  });

  it('whose row is lost lose their account with the next comparison', async () => {
    const made = await lease(600);
    await broker.database.owner.query('delete from leases where id = $1', [made.id]);
    const { body } = await admin.post(`/v1/resources/${resource.id}/reconcile`).expect(200);
    expect(body.destroyed).toEqual([made.account_name]);
    await expect(logIn(made.credential)).rejects.toThrow();
  });

  it('go on while the password of the admin account is replaced', async () => {
    const made = await lease(600);
    await admin.post(`/v1/resources/${resource.id}/rotate-password`).expect(200);
    const session = await logIn(made.credential);
    await session.use();
    await admin.post(`/v1/leases/${made.id}/revoke`).expect(200);
    await broker.worker.endLeases();
    await eventually(async () => expect((await read(made)).status).toBe('revoked'));
    await expect(session.use()).rejects.toThrow();
    await session.close();
  });
});
