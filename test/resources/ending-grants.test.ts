import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Act, Person } from '../../src/caller.ts';
import { withTransaction } from '../../src/db/transaction.ts';
import type { Risk } from '../../src/grants/facts.ts';
import type { Resource } from '../../src/resources/resource.ts';
import {
  actOf,
  addGrant,
  addPerson,
  eventsAbout,
  newAgent,
  newResource,
  type Services,
  servicesOn,
} from '../client-secrets/fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
let clock: FakeClock;
let services: Services;
let act: Act<Person>;
let agentId: string;
let resource: Resource;

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  clock = new FakeClock();
  services = servicesOn(database, clock);
  act = actOf(await addPerson(services));
  agentId = (await services.agents.create(act, newAgent(act.caller.id))).id;
  resource = await services.resources.create(act, newResource());
});

const catalogue = (risks: Record<string, Risk>) =>
  Object.entries(risks).map(([name, risk]) => ({ name, description: name, risk }));
/** The catalogue of `newResource` with a higher risk of `chat`. */
const chatRaised = catalogue({ chat: 'high', embed: 'medium' });
const grantOf = (scopes: string[], terms = {}) =>
  addGrant(services, { agentId, resourceId: resource.id, scopes, ...terms });
const raiseChat = () => services.resources.update(act, resource.id, { scopes: chatRaised });

async function grant(id: string) {
  return database.db
    .selectFrom('grants')
    .select(['status', 'ended_at', 'ended_by', 'end_reason'])
    .where('id', '=', id)
    .executeTakeFirstOrThrow();
}

describe('a scope that is removed, or whose risk is raised', () => {
  it('ends every grant and request that uses it, with the person and the reason, and one event each', async () => {
    const pending = await grantOf(['chat', 'embed'], { status: 'pending' });
    const scheduled = await grantOf(['chat'], { status: 'scheduled' });
    const active = await grantOf(['chat']);
    await raiseChat();
    const reason = 'scope was removed or its risk raised: chat';
    const end = { ended_at: clock.now(), ended_by: act.caller.id, end_reason: reason };
    expect(await grant(pending)).toEqual({ status: 'denied', ...end });
    expect(await grant(scheduled)).toEqual({ status: 'revoked', ...end });
    expect(await grant(active)).toEqual({ status: 'revoked', ...end });
    const event = { actor: act.caller.id, agentId, objectId: resource.id, details: { reason } };
    expect(await eventsAbout(services, pending)).toEqual([
      { ...event, type: 'grant.denied', grantId: pending },
    ]);
    for (const grantId of [scheduled, active]) {
      expect(await eventsAbout(services, grantId)).toEqual([{ ...event, type: 'grant.revoked', grantId }]);
    }
    const updated = (await eventsAbout(services, resource.id)).find(
      ({ type }) => type === 'resource.updated',
    );
    expect(updated?.details).toMatchObject({ ended_scopes: ['chat'], grants_ended: 3 });
  });

  it('names in the event of each grant only the scopes that it uses', async () => {
    const one = await grantOf(['embed']);
    const both = await grantOf(['chat', 'embed']);
    await services.resources.update(act, resource.id, { scopes: catalogue({ other: 'low' }) });
    expect((await grant(one)).end_reason).toBe('scope was removed or its risk raised: embed');
    expect((await grant(both)).end_reason).toBe('scope was removed or its risk raised: chat embed');
  });

  it('ends nothing for other scopes or other resources', async () => {
    const other = await services.resources.create(act, newResource());
    const kept = [await grantOf(['embed']), await grantOf(['chat'], { resourceId: other.id })];
    await raiseChat();
    for (const id of kept) expect(await grant(id)).toMatchObject({ status: 'active', ended_at: null });
  });

  it('leaves grants that have already ended, by expiry or by an epoch, unchanged', async () => {
    await services.agents.disable(act, { id: agentId });
    const left = [
      await grantOf(['chat'], { seconds: 60, agentEpoch: 2 }),
      await grantOf(['chat'], { seconds: 60, status: 'pending', agentEpoch: 2 }),
      await grantOf(['chat'], { agentEpoch: 1 }),
    ];
    clock.advance(60);
    await raiseChat();
    for (const id of left) expect(await grant(id)).toMatchObject({ ended_at: null, end_reason: null });
    const types = (await eventsAbout(services, resource.id)).map(({ type }) => type);
    expect(types).toEqual(['resource.created', 'resource.updated']);
  });

  it('ends thousands of grants at once, with an event for each', async () => {
    await database.owner.query(
      `insert into grants (id, agent_id, resource_id, status, requested_scopes, requested_duration_seconds, scopes,
          duration_seconds, reason, request_digest, request_facts, approvals_required, decision_policies,
          owner_at_request, agent_epoch, resource_epoch, requested_at, lapses_at)
        select 'grt_many_' || n, $1, $2, 'pending', '{chat}', 60, '{chat}', 60, 'r', 'd', '{}', 1, '[]', 'adm_1', 1, 1,
               $3, $3::timestamptz + interval '1 hour'
          from generate_series(1, 2500) n`,
      [agentId, resource.id, clock.now()],
    );
    await raiseChat();
    await eventually(async () => expect(await eventsAbout(services, 'grt_many_')).toHaveLength(2500));
  });
});

describe('lowering a risk, or changing anything but the catalogue', () => {
  it('ends nothing', async () => {
    const id = await grantOf(['chat', 'embed']);
    const scopes = catalogue({ embed: 'low', chat: 'low', more: 'high' });
    await services.resources.update(act, resource.id, { scopes });
    await services.resources.update(act, resource.id, { maxGrantSeconds: 1, tokenTtlSeconds: 60 });
    expect(await grant(id)).toMatchObject({ status: 'active', ended_at: null });
  });
});

describe('a risk that is raised while grants are created', () => {
  it('leaves no grant that uses the scope: each is created before and ended, or not created', async () => {
    const { db } = database;
    const request = () =>
      withTransaction(db, async (tx) => {
        const seen = await services.resources.lockShared(tx, resource.id);
        const risk = seen?.scopes.find(({ name }) => name === 'chat')?.risk;
        return risk === 'low' ? grantOf(['chat'], { db: tx }) : undefined;
      });
    const before = await request();
    const raced = await Promise.all([
      ...Array.from({ length: 10 }, request),
      raiseChat().then(() => undefined),
      ...Array.from({ length: 10 }, request),
    ]);
    const made = [before, ...raced].filter((id): id is string => id !== undefined);
    expect(made.length).toBeGreaterThan(0);
    for (const id of made) expect((await grant(id)).status).toBe('revoked');
    expect(await request()).toBeUndefined();
  });

  it('is not raised, and ends nothing, if it cannot be audited', async () => {
    const id = await grantOf(['chat'], { seconds: 400 * 24 * 3600 });
    clock.advance(100 * 24 * 3600);
    await expect(raiseChat()).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    expect((await services.resources.get(resource.id)).scopes).toEqual(resource.scopes);
    expect(await grant(id)).toMatchObject({ status: 'active', ended_at: null });
  });
});
