import { beforeAll, describe, expect, it } from 'vitest';
import { createAudit } from '../../../src/audit/audit.ts';
import { createEnvelope, EnvelopeError } from '../../../src/crypto/envelope.ts';
import { MasterKey } from '../../../src/crypto/master-key.ts';
import { createIds } from '../../../src/platform/ids.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { createUpstreamsService } from '../../../src/resources/upstreams/service.ts';
import { type Api, asBootstrap, createUpstream, startBroker, type TestBroker } from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { testMasterKey } from '../../support/test-config.ts';

const clock = new FakeClock();
const random = createSystemRandom();
let broker: TestBroker;
let admin: Api;

beforeAll(async () => {
  broker = await startBroker({ clock });
  admin = asBootstrap(broker);
});

const envelopeOf = (current: MasterKey) => createEnvelope({ current, old: [], random });

/** Creates the service as the gateway has it. */
function upstreamsWith(current = testMasterKey) {
  const { db } = broker.database;
  const ids = createIds(clock, random);
  const deps = { db, clock, ids, audit: createAudit({ clock, ids }), ownOrigins: [] };
  return createUpstreamsService({ ...deps, envelope: envelopeOf(current) });
}

const find = (slug: string, now = clock.now()) => upstreamsWith().find(broker.database.db, slug, now);
const pathOf = ({ id }: { id: string }) => `/v1/resources/${id}`;
const add = async (resource: { id: string }, body: object) =>
  (await admin.post(`${pathOf(resource)}/upstream-credentials`, body).expect(201)).body;
const inSeconds = (seconds: number) => new Date(clock.now().getTime() + seconds * 1_000);

describe('an upstream that the gateway looks up by its slug', () => {
  it('has all that a call needs', async () => {
    const credential = { type: 'header', name: 'x-api-key', secret: 'key-of-the-vendor' };
    const resource = await createUpstream(broker, { credential });
    expect(await find(resource.slug)).toEqual({
      resourceId: resource.id,
      identifier: resource.identifier,
      slug: resource.slug,
      baseUrl: 'https://vendor.example/v1',
      protocol: 'plain',
      credential: { type: 'header', name: 'x-api-key' },
      ca: null,
      connectSeconds: 5,
      responseSeconds: 60,
      idleSeconds: 60,
      scopes: [{ name: 'read', routes: [{ methods: ['GET'], path: '/**' }] }],
      secret: 'key-of-the-vendor',
    });
  });

  it('has no secret if it has no authentication', async () => {
    const resource = await createUpstream(broker, { credential: { type: 'none' } });
    expect(await find(resource.slug)).toMatchObject({ credential: { type: 'none' }, secret: null });
  });

  it('is found with a change at once, and not after its resource is deleted', async () => {
    const resource = await createUpstream(broker);
    const credential = { type: 'basic', username: 'hallpass', secret: 'password' };
    const upstream = { base_url: 'https://other.example', credential, timeouts: { idle_seconds: 7 } };
    await admin.patch(pathOf(resource), { upstream }).expect(200);
    expect(await find(resource.slug)).toMatchObject({
      baseUrl: 'https://other.example',
      credential: { type: 'basic', username: 'hallpass' },
      secret: 'password',
      idleSeconds: 7,
    });
    await admin.delete(pathOf(resource)).expect(204);
    expect(await find(resource.slug)).toBeUndefined();
    expect(await find('unknown')).toBeUndefined();
  });

  it('is read in one statement', async () => {
    const { slug } = await createUpstream(broker);
    const statements: string[] = [];
    const { db } = broker.database;
    const watched = db.withPlugin({
      transformQuery: ({ node }) => {
        statements.push(node.kind);
        return node;
      },
      transformResult: async ({ result }) => result,
    });
    await upstreamsWith().find(watched, slug, clock.now());
    expect(statements).toHaveLength(1);
  });
});

describe('the secret in use', () => {
  it('changes at the moment when the next one is activated', async () => {
    const resource = await createUpstream(broker);
    const at = inSeconds(60);
    await add(resource, { secret: 'next-key', activates_at: at.toISOString() });
    const secretAt = async (instant: Date) => (await find(resource.slug, instant))?.secret;
    expect(await secretAt(clock.now())).toBe('key-of-the-vendor');
    expect(await secretAt(new Date(at.getTime() - 1))).toBe('key-of-the-vendor');
    expect(await secretAt(at)).toBe('next-key');
    clock.advance(60);
    expect((await find(resource.slug))?.secret).toBe('next-key');
  });

  it('is the one that was added last if two are activated at the same instant', async () => {
    const resource = await createUpstream(broker);
    await add(resource, { secret: 'next-key' });
    expect((await find(resource.slug))?.secret).toBe('next-key');
  });

  it('is the first one even for a replica whose clock is behind', async () => {
    const resource = await createUpstream(broker);
    await add(resource, { secret: 'next-key', activates_at: inSeconds(60).toISOString() });
    expect((await find(resource.slug, inSeconds(-5)))?.secret).toBe('key-of-the-vendor');
  });

  it('is the other one after the one in use was removed', async () => {
    const resource = await createUpstream(broker);
    const { id } = await add(resource, { secret: 'next-key' });
    await admin.delete(`${pathOf(resource)}/upstream-credentials/${id}`).expect(204);
    expect((await find(resource.slug))?.secret).toBe('key-of-the-vendor');
  });

  it('cannot be moved to another upstream, which would send it elsewhere', async () => {
    const [victim, thief] = [await createUpstream(broker), await createUpstream(broker)];
    await broker.database.pool.query(
      `update upstream_credentials set secret_sealed =
         (select secret_sealed from upstream_credentials where resource_id = $1) where resource_id = $2`,
      [victim.id, thief.id],
    );
    await expect(find(thief.slug)).rejects.toThrow(EnvelopeError);
    expect((await find(victim.slug))?.secret).toBe('key-of-the-vendor');
  });

  it('is encrypted again with a new master key by the job that rotates keys, and then no longer needs the old one', async () => {
    const resource = await createUpstream(broker);
    await add(resource, { secret: 'next-key', activates_at: inSeconds(60).toISOString() });
    const masterKey = new MasterKey(Buffer.alloc(32, 9));
    const { database } = broker;
    const config = { masterKey, oldMasterKeys: [testMasterKey] };
    const rotating = await startBroker({ database, clock, config });
    clock.advance(60);
    await rotating.worker.register();
    expect(await rotating.worker.runNow('rotate-keys', clock.now())).toBe('done');
    const found = await upstreamsWith(masterKey).find(database.db, resource.slug, clock.now());
    expect(found?.secret).toBe('next-key');
    const envelope = envelopeOf(masterKey);
    const { rows } = await database.owner.query('select secret_sealed as sealed from upstream_credentials');
    expect(rows.length).toBeGreaterThan(2);
    // The secret that was moved above is left: it cannot be decrypted.
    expect(rows.filter(({ sealed }) => !envelope.isCurrent(sealed))).toHaveLength(1);
    await expect(find(resource.slug)).rejects.toThrow(EnvelopeError);
  });
});
