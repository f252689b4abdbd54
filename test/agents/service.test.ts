import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAdminsService } from '../../src/admins/service.ts';
import type { AgentsService } from '../../src/agents/service.ts';
import type { Act, Person } from '../../src/caller.ts';
import { hashSecret } from '../../src/crypto/hash.ts';
import { addSeconds } from '../../src/platform/clock.ts';
import {
  actOf,
  addGrant,
  addPerson,
  eventsAbout,
  newAgent,
  newResource,
  outcomes,
  type Services,
  servicesOn,
} from '../client-secrets/fixtures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

let database: TestDatabase;
let clock: FakeClock;
let services: Services;
let agents: AgentsService;
let owner: string;
let act: Act<Person>;

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  clock = new FakeClock();
  services = servicesOn(database, clock);
  agents = services.agents;
  owner = await addPerson(services);
  act = actOf(await addPerson(services));
});

const nowhere = 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c';
const noOwner = { code: 'invalid-request', detail: 'owner is not the id of a person' };
const pastExpiry = { code: 'invalid-request', detail: 'expires_at must be in the future' };
const typesAbout = async (id: string) => (await eventsAbout(services, id)).map(({ type }) => type);

describe('a new agent', () => {
  it('is enabled and gets its first client secret, with an audit event of each', async () => {
    const terms = newAgent(owner, { labels: ['b', 'a', 'b'] });
    const { clientSecret, ...agent } = await agents.create(act, terms);
    expect(agent).toEqual({
      ...terms,
      id: expect.stringMatching(/^agt_/),
      labels: ['b', 'a'],
      status: 'enabled',
      epoch: 1,
      version: 1,
      createdAt: clock.now(),
      createdBy: act.caller.id,
      updatedAt: clock.now(),
      disabledAt: null,
      jwks: null,
      jwksUri: null,
      identities: [],
      oldestSecretAt: clock.now(),
    });
    const client = await agents.findClient(services.deps.db, agent.id, clock.now());
    expect(client?.secrets.map(({ hash }) => hash)).toEqual([hashSecret(String(clientSecret))]);
    const [created, secret] = await eventsAbout(services, agent.id);
    expect(created).toEqual({
      type: 'agent.created',
      actor: act.caller.id,
      agentId: agent.id,
      grantId: null,
      objectId: agent.id,
      details: {
        name: 'report-writer',
        owner,
        environment: 'production',
        token_endpoint_auth_method: 'client_secret_basic',
        legacy_audience: false,
        require_bound_tokens: false,
        grants_on_demand: false,
        labels: ['b', 'a'],
        expires_at: null,
      },
    });
    expect(secret).toMatchObject({ type: 'client_secret.created', details: { client_id: agent.id } });
  });

  it('is refused, and leaves nothing, if its owner is unknown or deleted, or its expiry is past', async () => {
    await database.db
      .updateTable('admins')
      .set({ deleted_at: clock.now() })
      .where('id', '=', owner)
      .execute();
    await expect(agents.create(act, newAgent(owner))).rejects.toMatchObject(noOwner);
    const stranger = 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c';
    await expect(agents.create(act, newAgent(stranger))).rejects.toMatchObject(noOwner);
    const late = newAgent(act.caller.id, { expiresAt: clock.now() });
    await expect(agents.create(act, late)).rejects.toMatchObject(pastExpiry);
    expect(await eventsAbout(services, act.caller.id)).toEqual([]);
  });

  it('never belongs to a person who is being removed: one of the two is refused', async () => {
    const admins = createAdminsService(services.deps);
    const people = await Promise.all(Array.from({ length: 10 }, () => addPerson(services)));
    await database.db
      .updateTable('admins')
      .set({ roles: ['admin'] })
      .where('id', '=', act.caller.id)
      .execute();
    await database.db
      .insertInto('admin_keys')
      .values({
        id: services.deps.ids.next('adminKey'),
        admin_id: act.caller.id,
        name: 'k',
        key_hash: Buffer.alloc(32, 1),
        created_at: clock.now(),
        expires_at: addSeconds(clock.now(), 3600),
      })
      .execute();
    const raced = await Promise.all(
      people.map((person) => outcomes([agents.create(act, newAgent(person)), admins.remove(act, person)])),
    );
    expect(raced.map(({ succeeded }) => succeeded)).toEqual(people.map(() => 1));
    const orphans = await database.db
      .selectFrom('agents')
      .innerJoin('admins', 'admins.id', 'agents.owner_id')
      .select('agents.id')
      .where('agents.owner_id', 'in', people)
      .where('admins.deleted_at', 'is not', null)
      .execute();
    expect(orphans).toEqual([]);
  });

  it('is not created if its audit event cannot be written', async () => {
    const unrecorded = servicesOn(database, new FakeClock('2031-01-01T00:00:00Z'));
    await expect(unrecorded.agents.create(act, newAgent(owner))).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    const left = await database.db.selectFrom('agents').select('id').where('owner_id', '=', owner).execute();
    expect(left).toEqual([]);
  });
});

describe('an agent', () => {
  it('is listed page by page, oldest first, until it is deleted', async () => {
    const made: string[] = [];
    for (let i = 0; i < 3; i += 1) made.push((await agents.create(act, newAgent(owner))).id);
    const all = (await agents.list({ limit: 200 })).items.map(({ id }) => id);
    expect(all.filter((id) => made.includes(id))).toEqual([...made].sort());
    const first = await agents.list({ limit: 1 });
    expect([first.items.length, first.more]).toEqual([1, true]);
    const rest = await agents.list({ limit: 200, after: first.items[0]?.id });
    expect([...first.items, ...rest.items].map(({ id }) => id)).toEqual(all);
    await agents.remove(act, made[0] ?? '');
    expect((await agents.list({ limit: 200 })).items.map(({ id }) => id)).not.toContain(made[0]);
  });

  it('is shown with its secrets but without their text, and as expired', async () => {
    const expiresAt = addSeconds(clock.now(), 60);
    const { id, clientSecret } = await agents.create(act, newAgent(owner, { expiresAt }));
    clock.advance(60);
    const agent = await agents.get(id);
    expect(agent).toMatchObject({
      status: 'expired',
      secrets: [{ issuedBy: act.caller.id, revokedAt: null }],
    });
    expect(JSON.stringify(agent)).not.toContain(hashSecret(String(clientSecret)).toString('hex'));
    await expect(agents.get(nowhere)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('an update', () => {
  it('changes the given members only, and has an audit event', async () => {
    const other = await addPerson(services);
    const { clientSecret, ...before } = await agents.create(act, newAgent(owner));
    clock.advance(5);
    const after = await agents.update(act, before.id, { owner: other, labels: ['x', 'x'] });
    expect(after).toEqual({ ...before, owner: other, labels: ['x'], version: 2, updatedAt: clock.now() });
    expect((await eventsAbout(services, before.id)).at(-1)).toMatchObject({
      type: 'agent.updated',
      details: { owner: other, labels: ['x'] },
    });
    const all = { name: 'n', environment: 'staging', authMethod: 'client_secret_post' } as const;
    expect(await agents.update(act, before.id, all)).toMatchObject({ ...all, owner: other });
  });

  it('sets and removes the expiry, and keeps the epoch while the agent has not expired', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const expiresAt = addSeconds(clock.now(), 60);
    expect(await agents.update(act, id, { expiresAt })).toMatchObject({ expiresAt, epoch: 1 });
    expect(await agents.update(act, id, { name: 'n' })).toMatchObject({ expiresAt, epoch: 1 });
    expect(await agents.update(act, id, { expiresAt: null })).toMatchObject({ expiresAt: null, epoch: 1 });
  });

  it('that gives an expired agent more time raises its epoch, so that nothing that ended becomes active again', async () => {
    const terms = newAgent(owner, { expiresAt: addSeconds(clock.now(), 60) });
    const { id } = await agents.create(act, terms);
    clock.advance(60);
    expect(await agents.update(act, id, { name: 'still expired' })).toMatchObject({ epoch: 1 });
    const back = await agents.update(act, id, { expiresAt: addSeconds(clock.now(), 60) });
    expect(back).toMatchObject({ status: 'enabled', epoch: 2 });
    expect((await eventsAbout(services, id)).at(-1)?.details).toMatchObject({ epoch: 2 });
  });

  it('is refused for an unknown owner, a past expiry and an agent that does not exist', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    await expect(agents.update(act, id, { owner: nowhere })).rejects.toMatchObject(noOwner);
    await expect(agents.update(act, id, { expiresAt: clock.now() })).rejects.toMatchObject(pastExpiry);
    await expect(agents.update(act, nowhere, { name: 'n' })).rejects.toMatchObject({ code: 'not-found' });
    expect(await typesAbout(id)).not.toContain('agent.updated');
    await agents.remove(act, id);
    await expect(agents.update(act, id, { name: 'n' })).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('disabling', () => {
  it('raises the epoch once and has one audit event for 20 concurrent calls', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const attempts = Array.from({ length: 20 }, () => agents.disable(act, { id, reason: 'leaked' }));
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['conflict']) });
    expect(await agents.get(id)).toMatchObject({ status: 'disabled', epoch: 2, disabledAt: clock.now() });
    const events = (await eventsAbout(services, id)).filter(({ type }) => type === 'agent.disabled');
    expect(events).toMatchObject([{ agentId: id, details: { epoch: 2, reason: 'leaked' } }]);
  });

  it('is undone by enabling, which does not lower the epoch and is refused for an enabled agent', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    await expect(agents.enable(act, { id })).rejects.toMatchObject({ code: 'conflict' });
    await agents.disable(act, { id });
    const attempts = Array.from({ length: 20 }, () => agents.enable(act, { id }));
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['conflict']) });
    expect(await agents.get(id)).toMatchObject({ status: 'enabled', epoch: 2, disabledAt: null });
    const types = await typesAbout(id);
    expect(types.filter((type) => type === 'agent.enabled')).toHaveLength(1);
    expect(await agents.disable(act, { id })).toMatchObject({ epoch: 3 });
  });

  it('an unknown or deleted agent is answered with not-found, as enabling it is', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    await agents.remove(act, id);
    for (const gone of [id, nowhere]) {
      await expect(agents.disable(act, { id: gone })).rejects.toMatchObject({ code: 'not-found' });
      await expect(agents.enable(act, { id: gone })).rejects.toMatchObject({ code: 'not-found' });
    }
    expect(await typesAbout(id)).not.toContain('agent.disabled');
  });

  it('ends grants by the epoch, and writes each as ended with its event', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const resource = await services.resources.create(act, newResource());
    const grant = await addGrant(services, { agentId: id, resourceId: resource.id, scopes: ['chat'] });
    await agents.disable(act, { id });
    const row = await database.db
      .selectFrom('grants')
      .select(['status', 'agent_epoch', 'ended_at', 'ended_by', 'end_reason'])
      .where('id', '=', grant)
      .executeTakeFirst();
    const reason = 'its agent was disabled';
    expect(row).toEqual({
      status: 'revoked',
      agent_epoch: 1,
      ended_at: clock.now(),
      ended_by: act.caller.id,
      end_reason: reason,
    });
    const events = (await eventsAbout(services, id)).filter(({ type }) => type === 'grant.revoked');
    expect(events).toMatchObject([{ grantId: grant, actor: act.caller.id, details: { reason } }]);
  });
});

describe('deleting', () => {
  it('is soft: raises the epoch, revokes the secrets, keeps the row, and happens once', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const attempts = Array.from({ length: 20 }, () => agents.remove(act, id));
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['not-found']) });
    const row = await database.db
      .selectFrom('agents')
      .innerJoin('agent_secrets', 'client_id', 'agents.id')
      .select(['epoch', 'deleted_at', 'revoked_at', 'agent_secrets.id as secret'])
      .where('agents.id', '=', id)
      .executeTakeFirst();
    expect(row).toMatchObject({ epoch: 2, deleted_at: clock.now(), revoked_at: clock.now() });
    const events = (await eventsAbout(services, id)).filter(({ type }) => type === 'agent.deleted');
    expect(events).toMatchObject([{ agentId: id, details: { secrets_revoked: [row?.secret] } }]);
  });
});
