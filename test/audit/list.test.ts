import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Api,
  apiOf,
  asBootstrap,
  createAgent,
  createPerson,
  createResource,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
let auditor: Api;
let agent: TestAgent;
let grantId: string;

interface Event {
  id: string;
  at: string;
  type: string;
  agent_id: string | null;
  grant_id: string | null;
  details: Record<string, unknown>;
}

beforeAll(async () => {
  broker = await startBroker({ clock });
  auditor = (await createPerson(broker, { roles: ['auditor'] })).api;
  agent = await createAgent(broker);
  await createPerson(broker, { roles: ['approver'] });
  const resource = await createResource(broker);
  const api = await agent.api();
  clock.advance(30);
  grantId = (await api.post('/v1/grants', grantRequest(resource.identifier)).expect(202)).body.id;
  await api.post(`/v1/grants/${grantId}/cancel`).expect(200);
});

async function list(query = ''): Promise<Event[]> {
  return (await auditor.get(`/v1/audit-events?limit=200&${query}`).expect(200)).body.items;
}

/** Reads all committed events without the API, which serves only events older than every running transaction. */
async function stored(where = 'true'): Promise<string[]> {
  const { rows } = await broker.database.owner.query(
    `select id from audit_events where ${where} order by tx, id`,
  );
  return rows.map(({ id }) => id);
}

const ids = (events: Event[]): string[] => events.map(({ id }) => id);

describe('the audit log', () => {
  it('is read completely in the order of commits, oldest first', async () => {
    await eventually(async () => expect(ids(await list())).toEqual(await stored()));
  });

  it('is filtered by agent, grant, type and time', async () => {
    const filters: [query: string, where: string][] = [
      [`agent_id=${agent.id}`, `agent_id = '${agent.id}'`],
      [`grant_id=${grantId}`, `grant_id = '${grantId}'`],
      ['type=agent.created', "type = 'agent.created'"],
      ['since=2026-03-02T10:00:30Z', "at >= '2026-03-02T10:00:30Z'"],
      ['until=2026-03-02T10:00:30Z', "at < '2026-03-02T10:00:30Z'"],
      ['since=2026-03-02T12:00:30%2B02:00&until=2026-03-02T10:00:30.001Z', "at = '2026-03-02T10:00:30Z'"],
      [`agent_id=${agent.id}&type=grant.cancelled`, `grant_id = '${grantId}' and type = 'grant.cancelled'`],
      ['type=nothing.ever', 'false'],
    ];
    await eventually(async () => expect(ids(await list())).toEqual(await stored()));
    for (const [query, where] of filters) {
      const expected = await stored(where);
      expect(ids(await list(query)), query).toEqual(expected);
      if (where !== 'false') expect(expected.length, query).toBeGreaterThan(0);
    }
  });

  it('has every event exactly once, with any page size', async () => {
    for (const filter of ['', `agent_id=${agent.id}&`]) {
      const seen: string[] = [];
      for (let cursor = ''; ; ) {
        const { body } = await auditor.get(`/v1/audit-events?${filter}limit=2${cursor}`).expect(200);
        seen.push(...ids(body.items));
        if (body.next_cursor === null) break;
        cursor = `&cursor=${body.next_cursor}`;
      }
      const where = filter === '' ? 'true' : `agent_id = '${agent.id}'`;
      expect(seen).toEqual(await stored(where));
    }
  });

  it('is for auditors and admins', async () => {
    const approver = await createPerson(broker, { roles: ['approver'] });
    await approver.api.get('/v1/audit-events').expect(403);
    await asBootstrap(broker).get('/v1/audit-events').expect(200);
    await (await agent.api()).get('/v1/audit-events').expect(403);
  });
});

describe('an event of a transaction that is still open', () => {
  const insert = `insert into audit_events (id, at, type, outcome, actor_kind, actor_id, details)
    values ($1, '2026-03-02T10:00:31Z', 'admin.created', 'success', 'system', 'test', '{}')`;

  it('holds back all later events, so that a reader who follows a cursor misses none', async () => {
    const slow = new pg.Client({ connectionString: broker.database.url });
    await slow.connect();
    await eventually(async () => expect(ids(await list())).toEqual(await stored()));
    const before = await stored();
    await slow.query('begin');
    await slow.query(insert, ['evt_slow']);
    await createPerson(broker, { name: 'later' });
    const later = (await stored()).filter((id) => !before.includes(id));
    expect(later.length).toBeGreaterThan(0);
    const { body } = await auditor.get(`/v1/audit-events?limit=${before.length - 1}`).expect(200);
    const held = await auditor.get(`/v1/audit-events?limit=200&cursor=${body.next_cursor}`).expect(200);
    expect(ids(held.body.items)).toEqual(before.slice(-1));
    expect(held.body.next_cursor).toBeNull();
    await slow.query('commit');
    await slow.end();
    const seen = await eventually(async () => {
      const next = await auditor.get(`/v1/audit-events?limit=200&cursor=${body.next_cursor}`).expect(200);
      expect(ids(next.body.items)).toContain(later.at(-1));
      return ids(next.body.items);
    });
    expect(seen).toEqual([...before.slice(-1), 'evt_slow', ...later]);
  });
});

describe('refused unauthenticated requests', () => {
  it('have one event per address and minute, not one each', async () => {
    const behind = await startBroker({
      clock,
      database: broker.database,
      config: { trustedProxies: ['127.0.0.1/32'] },
    });
    const before = await stored();
    const nobody = apiOf(behind, 'hpa_unknown');
    for (const address of ['198.51.100.1', '198.51.100.1', '198.51.100.2']) {
      await nobody.get('/v1/admins').set('X-Forwarded-For', address).expect(401);
    }
    await agentWithWrongSecret(behind).expect(401);
    expect(await stored()).toEqual(before);
    clock.advance(60);
    const events = await eventually(async () => {
      const found = await list('type=strangers.refused');
      expect(found).toHaveLength(3);
      return found;
    });
    const counted = events.map(({ details }) => details);
    const byAddress = [...counted].sort((a, b) => String(a.address).localeCompare(String(b.address)));
    expect(byAddress).toEqual([
      { address: '198.51.100.1', count: 2 },
      { address: '198.51.100.2', count: 1 },
      { address: '198.51.100.3', count: 1 },
    ]);
    clock.advance(60);
    await eventually(async () => expect(await list('type=strangers.refused')).toHaveLength(3));
  });

  const agentWithWrongSecret = (behind: TestBroker) =>
    apiOf(behind, undefined)
      .post('/oauth2/token')
      .type('form')
      .set('X-Forwarded-For', '198.51.100.3')
      .auth(agent.id, 'wrong')
      .send({ grant_type: 'client_credentials' });
});
