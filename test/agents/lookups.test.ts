import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentsService } from '../../src/agents/service.ts';
import type { Act, Person } from '../../src/caller.ts';
import { hashSecret } from '../../src/crypto/hash.ts';
import { addSeconds } from '../../src/platform/clock.ts';
import { actOf, addPerson, newAgent, type Services, servicesOn } from '../client-secrets/fixtures.ts';
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

describe('the agents service, for other services,', () => {
  it('finds an agent in any status, until it is deleted', async () => {
    const { db } = database;
    const { id } = await agents.create(act, newAgent(owner));
    await agents.disable(act, { id });
    expect(await agents.find(db, id)).toMatchObject({ id, epoch: 2, disabledAt: clock.now() });
    expect(await agents.findClient(db, id, clock.now())).toMatchObject({ id, epoch: 2, owner });
    await agents.remove(act, id);
    for (const gone of [id, nowhere]) {
      expect(await agents.find(db, gone)).toBeUndefined();
      expect(await agents.findClient(db, gone, clock.now())).toBeUndefined();
    }
  });

  it('returns a client with the digests of its valid secrets only', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const expiresAt = addSeconds(clock.now(), 60);
    const [first] = (await agents.get(id)).secrets;
    const second = await agents.issueSecret(act, { agentId: id, expiresAt });
    await agents.revokeSecret(act, { agentId: id, secretId: first?.id ?? '' });
    const client = await agents.findClient(database.db, id, clock.now());
    expect(client?.secrets).toEqual([{ id: second.id, hash: hashSecret(second.clientSecret), expiresAt }]);
    expect((await agents.findClient(database.db, id, expiresAt))?.secrets).toEqual([]);
  });

  it('lists as controllers the people who own, owned or created the agent, or issued a secret of it that was valid at or after the given time', async () => {
    const { id } = await agents.create(act, newAgent(owner));
    const [issuer, past] = [await addPerson(services), await addPerson(services)];
    const expiresAt = addSeconds(clock.now(), 60);
    const controllers = () => agents.controllersOf(database.db, id, clock.now());
    await agents.issueSecret(actOf(past), { agentId: id, expiresAt });
    expect(await controllers()).toEqual(new Set([owner, act.caller.id, past]));
    // A token outlives the secret with which it was obtained.
    clock.advance(60 + 3599);
    expect(await controllers()).toEqual(new Set([owner, act.caller.id, past]));
    clock.advance(1);
    expect(await controllers()).toEqual(new Set([owner, act.caller.id]));
    const secret = await agents.issueSecret(actOf(issuer), { agentId: id, expiresAt: null });
    expect(await controllers()).toEqual(new Set([owner, act.caller.id, issuer]));
    await agents.revokeSecret(act, { agentId: id, secretId: secret.id });
    await agents.update(act, id, { owner: past });
    expect(await controllers()).toEqual(new Set([owner, past, act.caller.id, issuer]));
    clock.advance(3601);
    expect(await controllers()).toEqual(new Set([past, act.caller.id]));
    expect(await agents.controllersOf(database.db, nowhere, clock.now())).toEqual(new Set());
  });
});
