import { beforeAll, describe, expect, it } from 'vitest';
import type { ClientKind } from '../../src/client-secrets/client-secret.ts';
import { listValidDigests } from '../../src/client-secrets/store.ts';
import { hashSecret } from '../../src/crypto/hash.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';
import { actOf, addPerson, eventsAbout, newAgent, newResource, outcomes, servicesOn } from './fixtures.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});

/** Creates a new client of this kind, and returns the use cases of its secrets. */
async function clientOf(kind: ClientKind) {
  const clock = new FakeClock();
  const services = servicesOn(database, clock);
  const { agents, resources, deps } = services;
  const person = await addPerson(services);
  const act = actOf(person);
  const client =
    kind === 'agent'
      ? await agents.create(act, newAgent(person))
      : await resources.create(act, newResource());
  const { id } = client;
  // Only agents are created with a secret.
  if (kind === 'agent') {
    const [first] = (await agents.get(id)).secrets;
    await agents.revokeSecret(act, { agentId: id, secretId: first?.id ?? '' });
  }
  const issue = (expiresAt: Date | null = null, by = act) =>
    kind === 'agent'
      ? agents.issueSecret(by, { agentId: id, expiresAt })
      : resources.issueSecret(by, { resourceId: id, expiresAt });
  const revoke = (secretId: string, of = id) =>
    kind === 'agent'
      ? agents.revokeSecret(act, { agentId: of, secretId })
      : resources.revokeSecret(act, { resourceId: of, secretId });
  const remove = () => (kind === 'agent' ? agents.remove(act, id) : resources.remove(act, id));
  const listValid = () => listValidDigests(deps.db, { kind, id }, clock.now());
  const read = async () => (await (kind === 'agent' ? agents.get(id) : resources.get(id))).secrets;
  return { clock, services, person, id, issue, revoke, remove, listValid, read };
}

describe.each([
  { kind: 'agent' as const, prefix: 'hps' },
  { kind: 'resource' as const, prefix: 'hpr' },
])('a secret of $kind', ({ kind, prefix }) => {
  it('is shown once, stored as its digest, and has an audit event without it', async () => {
    const { services, person, id, issue, listValid, read } = await clientOf(kind);
    const issued = await issue();
    expect(issued.clientSecret).toMatch(new RegExp(`^${prefix}_[A-Za-z0-9]{43}$`));
    expect(await listValid()).toEqual([
      { id: issued.id, hash: hashSecret(issued.clientSecret), expiresAt: null },
    ]);
    expect(JSON.stringify(await read())).not.toContain(issued.clientSecret);
    expect(await eventsAbout(services, issued.clientSecret)).toEqual([]);
    expect(await eventsAbout(services, issued.id)).toEqual([
      {
        type: 'client_secret.created',
        actor: person,
        agentId: kind === 'agent' ? id : null,
        grantId: null,
        objectId: issued.id,
        details: { client_id: id, expires_at: null },
      },
    ]);
  });

  it('is refused if its expiry is not in the future', async () => {
    const { clock, issue, listValid } = await clientOf(kind);
    await expect(issue(clock.now())).rejects.toMatchObject({
      code: 'invalid-request',
      detail: 'expires_at must be in the future',
    });
    expect(await listValid()).toEqual([]);
  });

  it('is one of at most two: of 20 concurrent requests two succeed', async () => {
    const { issue, listValid } = await clientOf(kind);
    const attempts = Array.from({ length: 20 }, () => issue());
    expect(await outcomes(attempts)).toEqual({ succeeded: 2, codes: new Set(['too-many-secrets']) });
    expect(await listValid()).toHaveLength(2);
  });

  it('can be replaced when it expires or is revoked', async () => {
    const { clock, issue, revoke, listValid, read } = await clientOf(kind);
    const soon = new Date(clock.now().getTime() + 60_000);
    const short = await issue(soon);
    const long = await issue();
    expect(new Map((await listValid()).map(({ id, expiresAt }) => [id, expiresAt]))).toEqual(
      new Map([
        [short.id, soon],
        [long.id, null],
      ]),
    );
    await expect(issue()).rejects.toMatchObject({ code: 'too-many-secrets' });
    clock.advance(60);
    expect((await listValid()).map(({ id }) => id)).toEqual([long.id]);
    await issue();
    await expect(issue()).rejects.toMatchObject({ code: 'too-many-secrets' });
    await revoke(long.id);
    await issue();
    expect((await read()).map(({ id }) => id)).toContain(short.id);
  });

  it('is revoked once, with one event, for any number of concurrent or repeated calls', async () => {
    const { services, issue, revoke, listValid, read } = await clientOf(kind);
    const { id } = await issue();
    await Promise.all(Array.from({ length: 20 }, () => revoke(id)));
    expect(await listValid()).toEqual([]);
    const revokedAt = (await read()).find((secret) => secret.id === id)?.revokedAt;
    expect(revokedAt).toEqual(services.deps.clock.now());
    const types = (await eventsAbout(services, id)).map(({ type }) => type);
    expect(types).toEqual(['client_secret.created', 'client_secret.revoked']);
  });

  it('is not found by a wrong id, through another client, or when the client is deleted', async () => {
    const { issue, revoke, remove, listValid } = await clientOf(kind);
    const other = await clientOf(kind);
    const { id } = await issue();
    await expect(revoke('sec_01kjdw0a5vf8h8v0m6gq3r9x2d')).rejects.toMatchObject({ code: 'not-found' });
    await expect(revoke(id, other.id)).rejects.toMatchObject({ code: 'not-found' });
    expect(await listValid()).toHaveLength(1);
    await remove();
    expect(await listValid()).toEqual([]);
    await expect(revoke(id)).rejects.toMatchObject({ code: 'not-found' });
    await expect(issue()).rejects.toMatchObject({ code: 'not-found' });
  });

  it('never outlives its client: none is valid after requests that race its deletion', async () => {
    const { issue, remove, listValid } = await clientOf(kind);
    await Promise.allSettled([issue(), remove(), issue(), issue()]);
    expect(await listValid()).toEqual([]);
  });

  it('is not created if its audit event cannot be written', async () => {
    const { clock, issue, listValid } = await clientOf(kind);
    clock.advance(10 * 366 * 24 * 3600);
    await expect(issue()).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    expect(await listValid()).toEqual([]);
  });
});
