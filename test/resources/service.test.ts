import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Act, Person } from '../../src/caller.ts';
import { hashSecret } from '../../src/crypto/hash.ts';
import type { ResourcesService } from '../../src/resources/service.ts';
import {
  actOf,
  addPerson,
  eventsAbout,
  issuer,
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
let resources: ResourcesService;
let act: Act<Person>;

beforeAll(async () => {
  database = await createTestDatabase();
});

beforeEach(async () => {
  clock = new FakeClock();
  services = servicesOn(database, clock);
  resources = services.resources;
  act = actOf(await addPerson(services));
});

const nowhere = 'res_01kjdw0a5vf8h8v0m6gq3r9x2c';
const typesAbout = async (id: string) => (await eventsAbout(services, id)).map(({ type }) => type);

describe('a new resource', () => {
  it('has the defaults for values that are not given, and is audited', async () => {
    const terms = newResource();
    const resource = await resources.create(act, terms);
    expect(resource).toEqual({
      ...terms,
      id: expect.stringMatching(/^res_/),
      connection: null,
      preflight: null,
      upstream: null,
      labels: [],
      tokenTtlSeconds: 300,
      tokenAlg: 'ES256',
      requireBoundTokens: false,
      authorizationDetailsTypes: [],
      epoch: 1,
      version: 1,
      createdAt: clock.now(),
      createdBy: act.caller.id,
      updatedAt: clock.now(),
    });
    expect(await resources.get(resource.id)).toEqual({ ...resource, secrets: [], upstreamCredentials: [] });
    expect(await eventsAbout(services, resource.id)).toEqual([
      {
        type: 'resource.created',
        actor: act.caller.id,
        agentId: null,
        grantId: null,
        objectId: resource.id,
        details: {
          identifier: terms.identifier,
          kind: 'api',
          name: terms.name,
          labels: [],
          scopes: [
            { name: 'chat', risk: 'low' },
            { name: 'embed', risk: 'medium' },
          ],
          max_grant_seconds: 3600,
          token_ttl_seconds: 300,
          token_alg: 'ES256',
          require_bound_tokens: false,
          authorization_details_types: [],
        },
      },
    ]);
  });

  it('keeps the given values, with each label once', async () => {
    const given = { labels: ['b', 'a', 'b'], tokenTtlSeconds: 60, tokenAlg: 'EdDSA' as const };
    expect(await resources.create(act, newResource(given))).toMatchObject({ ...given, labels: ['b', 'a'] });
  });

  it('is refused for an invalid identifier, or one under the issuer', async () => {
    const attempt = (identifier: string) => resources.create(act, newResource({ identifier }));
    await expect(attempt('https://llm.example/#x')).rejects.toMatchObject({
      code: 'invalid-request',
      detail: 'identifier must not have a fragment',
    });
    await expect(attempt(`${issuer}/v1`)).rejects.toMatchObject({
      code: 'invalid-request',
      detail: 'identifier must not be the issuer or under it',
    });
  });

  it('is refused for a scope that is given twice and for an algorithm without an active key', async () => {
    const [chat] = newResource().scopes;
    if (chat === undefined) throw new Error('no scope');
    await expect(resources.create(act, newResource({ scopes: [chat, chat] }))).rejects.toMatchObject({
      code: 'invalid-request',
      detail: 'scope chat is given twice',
    });
    await expect(resources.create(act, newResource({ tokenAlg: 'RS256' }))).rejects.toMatchObject({
      code: 'conflict',
      detail: 'no key can sign with RS256 now',
    });
    expect(await eventsAbout(services, act.caller.id)).toEqual([]);
  });

  it.each([
    '',
    '/',
  ])('never takes an identifier that exists or existed, ending in "%s" or not', async (end) => {
    const { identifier } = newResource();
    const { id } = await resources.create(act, newResource({ identifier: `${identifier}${end}` }));
    const attempts = () => [
      resources.create(act, newResource({ identifier })),
      resources.create(act, newResource({ identifier: `${identifier}/` })),
    ];
    const refused = { succeeded: 0, codes: new Set(['identifier-taken']) };
    expect(await outcomes(attempts())).toEqual(refused);
    await resources.remove(act, id);
    expect(await outcomes(attempts())).toEqual(refused);
  });

  it('is one of 20 that are created at once with identifiers that differ only by a slash', async () => {
    const { identifier } = newResource();
    const attempts = Array.from({ length: 20 }, (_, i) =>
      resources.create(act, newResource({ identifier: i % 2 === 0 ? identifier : `${identifier}/` })),
    );
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['identifier-taken']) });
    expect(await eventsAbout(services, identifier)).toHaveLength(1);
  });

  it('is not created if it cannot be audited', async () => {
    const unrecorded = servicesOn(database, new FakeClock('2031-01-01T00:00:00Z'));
    const terms = newResource();
    await expect(unrecorded.resources.create(act, terms)).rejects.toMatchObject({
      code: 'unavailable',
      cause: { code: '23514' },
    });
    expect(await resources.findByIdentifier(database.db, terms.identifier)).toBeUndefined();
  });
});

describe('a resource', () => {
  it('is listed page by page until it is deleted', async () => {
    const made: string[] = [];
    for (let i = 0; i < 3; i += 1) made.push((await resources.create(act, newResource())).id);
    const all = (await resources.list({ limit: 200 })).items.map(({ id }) => id);
    expect(all).toEqual(expect.arrayContaining(made));
    const first = await resources.list({ limit: 1 });
    expect([first.items.length, first.more]).toEqual([1, true]);
    const rest = await resources.list({ limit: 200, after: first.items[0]?.id });
    expect([...first.items, ...rest.items].map(({ id }) => id)).toEqual(all);
    await resources.remove(act, made[0] ?? '');
    expect((await resources.list({ limit: 200 })).items.map(({ id }) => id)).not.toContain(made[0]);
  });

  it('is changed as an update says, and the change is audited', async () => {
    const before = await resources.create(act, newResource());
    clock.advance(5);
    const change = { labels: ['x', 'x'], tokenTtlSeconds: 120, tokenAlg: 'EdDSA' as const };
    const after = await resources.update(act, before.id, change);
    expect(after).toEqual({ ...before, ...change, labels: ['x'], version: 2, updatedAt: clock.now() });
    expect((await eventsAbout(services, before.id)).at(-1)).toMatchObject({
      type: 'resource.updated',
      actor: act.caller.id,
      details: {
        labels: ['x'],
        token_ttl_seconds: 120,
        token_alg: 'EdDSA',
        ended_scopes: [],
        grants_ended: 0,
      },
    });
    const scopes = [{ name: 'chat', description: 'other', risk: 'high' as const }];
    const rest = { name: 'n', scopes, maxGrantSeconds: 60 };
    expect(await resources.update(act, before.id, rest)).toEqual({ ...after, ...rest, version: 3 });
  });

  it('is not changed by an update that is refused', async () => {
    const { id } = await resources.create(act, newResource());
    const [chat] = newResource().scopes;
    if (chat === undefined) throw new Error('no scope');
    await expect(resources.update(act, id, { scopes: [chat, chat] })).rejects.toMatchObject({
      code: 'invalid-request',
    });
    await expect(resources.update(act, id, { tokenAlg: 'RS256' })).rejects.toMatchObject({
      code: 'conflict',
    });
    await expect(resources.update(act, nowhere, { name: 'n' })).rejects.toMatchObject({ code: 'not-found' });
    expect(await resources.get(id)).toMatchObject({ version: 1 });
    expect(await typesAbout(id)).toEqual(['resource.created']);
  });

  it('is marked as deleted once: its epoch is raised, its secrets are revoked, its row stays', async () => {
    const { id } = await resources.create(act, newResource());
    const { id: secret } = await resources.issueSecret(act, { resourceId: id, expiresAt: null });
    const attempts = Array.from({ length: 20 }, () => resources.remove(act, id));
    expect(await outcomes(attempts)).toEqual({ succeeded: 1, codes: new Set(['not-found']) });
    const row = await database.db
      .selectFrom('resources')
      .innerJoin('resource_secrets', 'client_id', 'resources.id')
      .select(['epoch', 'deleted_at', 'revoked_at'])
      .where('resources.id', '=', id)
      .executeTakeFirst();
    expect(row).toEqual({ epoch: 2, deleted_at: clock.now(), revoked_at: clock.now() });
    const events = (await eventsAbout(services, id)).filter(({ type }) => type === 'resource.deleted');
    expect(events).toMatchObject([{ details: { secrets_revoked: [secret] } }]);
    await expect(resources.update(act, id, { name: 'n' })).rejects.toMatchObject({ code: 'not-found' });
    await expect(resources.get(id)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('for other services', () => {
  it('a resource is found by id, and by its identifier with or without a trailing slash, until it is deleted', async () => {
    const { db } = database;
    const terms = newResource();
    const resource = await resources.create(act, terms);
    const slashed = await resources.create(act, newResource({ identifier: `${newResource().identifier}/` }));
    expect(await resources.find(db, resource.id)).toEqual(resource);
    for (const identifier of [terms.identifier, `${terms.identifier}/`]) {
      expect(await resources.findByIdentifier(db, identifier)).toEqual(resource);
    }
    expect(await resources.findByIdentifier(db, slashed.identifier.slice(0, -1))).toEqual(slashed);
    for (const other of [
      `${terms.identifier}//`,
      `${terms.identifier}x`,
      terms.identifier.toUpperCase(),
      '',
    ]) {
      expect(await resources.findByIdentifier(db, other)).toBeUndefined();
    }
    await resources.remove(act, resource.id);
    expect(await resources.find(db, resource.id)).toBeUndefined();
    expect(await resources.findByIdentifier(db, terms.identifier)).toBeUndefined();
  });

  it('a resource server is returned with the digests of its unexpired secrets only', async () => {
    const { db } = database;
    const { id, identifier } = await resources.create(act, newResource());
    const server = () => resources.findServer(db, id, clock.now());
    expect(await server()).toEqual({ id, identifier, epoch: 1, version: 1, secrets: [] });
    const one = await resources.issueSecret(act, { resourceId: id, expiresAt: null });
    const two = await resources.issueSecret(act, { resourceId: id, expiresAt: null });
    await resources.revokeSecret(act, { resourceId: id, secretId: one.id });
    expect((await server())?.secrets).toEqual([
      { id: two.id, hash: hashSecret(two.clientSecret), expiresAt: null },
    ]);
    await resources.remove(act, id);
    expect(await server()).toBeUndefined();
    expect(await resources.findServer(db, nowhere, clock.now())).toBeUndefined();
  });
});
