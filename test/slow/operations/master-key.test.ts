import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { beforeAll, expect, inject, it } from 'vitest';
import { createEnvelope } from '../../../src/crypto/envelope.ts';
import { parseMasterKey } from '../../../src/crypto/master-key.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { clusterEnv, startReplica } from '../../cluster/replica.ts';
import { launch } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { createProduction, migrate, type Production } from '../../e2e/support/production.ts';
import { atEnd } from '../../support/at-end.ts';
import { eventually } from '../../support/eventually.ts';
import { inDatabase, nameOf, query } from './support/databases.ts';
import { startManualReplica } from './support/manual-replica.ts';
import { mintSteadily } from './support/steady-minting.ts';

const random = createSystemRandom();
const oldKey = randomBytes(32).toString('base64url');
const newKey = randomBytes(32).toString('base64url');
const envelopeOf = (key: string) => createEnvelope({ current: parseMasterKey(key), old: [], random });
const onlyOld = envelopeOf(oldKey);
const onlyNew = envelopeOf(newKey);

let production: Production;
let env: Record<string, string>;
beforeAll(async () => {
  await ensureBuilt();
  production = await createProduction();
  await migrate(production);
  env = clusterEnv(production.databaseUrl, production.bootstrapKey);
});

const withKeys = (current: string, ...old: string[]): Record<string, string> => ({
  ...env,
  HALLPASS_MASTER_KEY: current,
  HALLPASS_MASTER_KEYS_OLD: old.join(','),
});

/** Reads every encrypted value, with its place. */
async function sealed() {
  const keys = await production.query<{ kid: string; private_sealed: Buffer }>(
    'select kid, private_sealed from signing_keys order by ctid',
  );
  const [check] = await production.query<{ sealed: Buffer }>('select sealed from master_key_check');
  return [
    ...keys.map(({ kid, private_sealed }) => ({
      place: { table: 'signing_keys', column: 'private_sealed', row: kid },
      value: private_sealed,
    })),
    {
      place: { table: 'master_key_check', column: 'sealed', row: 'singleton' },
      value: check?.sealed ?? Buffer.of(),
    },
  ];
}

/** Returns how many of the encrypted values can be decrypted with this key alone, and how many there are. */
async function opening(envelope: typeof onlyOld): Promise<[opens: number, all: number]> {
  const all = await sealed();
  const opens = all.filter(({ place, value }) => {
    try {
      return envelope.open(value, place).length > 0;
    } catch {
      return false;
    }
  });
  return [opens.length, all.length];
}

/** Locks the row of the signing key that the job processes last, as another transaction may. */
async function lockLastKey(): Promise<pg.Client> {
  const owner = new pg.Client({ connectionString: production.ownerUrl });
  owner.on('error', () => {});
  await owner.connect();
  atEnd(() => owner.end());
  await owner.query('begin');
  await owner.query(
    `select kid from signing_keys where ctid = (select max(ctid) from signing_keys) for update`,
  );
  return owner;
}

/** Resolves when a transaction has changed some signing keys, is not committed, and waits for the lock on another. */
const isMidway = () =>
  eventually(async () => {
    // Only a superuser can see the locks that other sessions wait for.
    const url = inDatabase(inject('server').adminUrl, nameOf(production.ownerUrl));
    const [row] = await query<{ changed: number }>(
      url,
      `select count(*)::integer as changed from signing_keys k
        where exists (select from pg_stat_activity a
                       where a.datname = current_database() and a.wait_event_type = 'Lock'
                         and a.backend_xid = k.xmax)`,
    );
    expect(row?.changed).toBeGreaterThan(0);
  });

function mint(url: string, { client, resource }: Story) {
  const form = { grant_type: 'client_credentials', resource, scope: 'read' };
  return expecting(200, call(`${url}/oauth2/token`, { basic: client, form }));
}

async function refusesToStart(broker: Record<string, string>): Promise<void> {
  const { code, stdout, stderr } = await launch({ ...broker, HALLPASS_PORT: '0' }).exited;
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{"level"'));
  const why = 'HALLPASS_MASTER_KEY is not the key that the secrets in this database were sealed with';
  expect([code, stdout, lines]).toEqual([1, '', [`hallpass: ${why}`]]);
}

/** Returns the result of the query in docs/operations.md: the master keys under which values in use are encrypted. */
async function inUse(): Promise<unknown[]> {
  const docs = await readFile(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
  const text = /```sql\n(select encode\(substring[^`]*)```/.exec(docs)?.[1] ?? '';
  return (await production.query(text)).map((row) => (row as { master_key: string }).master_key);
}

const slot = new Date('2026-03-02T10:00:00Z');
const nextSlot = new Date('2026-03-02T10:01:00Z');

it('a master key is replaced during minting even if the job that encrypts again is killed midway, and the old one then starts no broker', async () => {
  // The procedure of docs/operations.md. First every replica gets the new key as an old one, which only decrypts.
  let [a, b] = [await startReplica(withKeys(oldKey)), await startReplica(withKeys(oldKey))];
  const story = await createStory(a.url, production.bootstrapKey);
  const minting = mintSteadily(story, a.url, b.url);
  await minting.more(50);
  await minting.balance(b.url);
  expect(await a.drain()).toBe(0);
  a = await startReplica(withKeys(oldKey, newKey));
  await minting.balance(a.url);
  expect(await b.drain()).toBe(0);
  b = await startReplica(withKeys(oldKey, newKey));
  await minting.balance(a.url, b.url);
  await minting.more(50);
  expect((await opening(onlyOld))[0]).toBe(7);
  const before = await inUse();
  expect(before).toHaveLength(1);

  // Then the keys are swapped on each replica. A replica that was not swapped starts last: all values are still under
  // the old key.
  const [first, second] = [
    await startManualReplica(withKeys(newKey, oldKey)),
    await startManualReplica(withKeys(newKey, oldKey)),
  ];
  await minting.balance(first.url, second.url);
  for (const replica of [a, b]) expect(await replica.drain()).toBe(0);
  expect(await (await startReplica({ ...withKeys(oldKey, newKey), HALLPASS_ROLE: 'api' })).drain()).toBe(0);
  expect(await opening(onlyOld)).toEqual([7, 7]);

  // The job has encrypted some keys again and waits for the next one; then its process is killed.
  const owner = await lockLastKey();
  const killed = first.run('rotate-keys', slot);
  await isMidway();
  await minting.balance(second.url);
  await first.kill();
  expect(await killed).toBeUndefined();
  await minting.more(50);
  expect(await opening(onlyNew)).toEqual([0, 7]);
  await owner.query('rollback');

  // The other replica's next run finishes, as soon as the lease of the killed one has expired.
  expect(await second.run('rotate-keys', nextSlot)).toBe('busy');
  await production.query(`update jobs set lease_expires_at = now() where name = 'rotate-keys'`);
  expect(await second.run('rotate-keys', nextSlot)).toBe('done');
  expect(await opening(onlyNew)).toEqual([7, 7]);
  expect(await opening(onlyOld)).toEqual([0, 7]);
  await minting.more(50);

  // The old key is removed.
  [a, b] = [await startReplica(withKeys(newKey)), await startReplica(withKeys(newKey))];
  await minting.balance(a.url, b.url);
  await second.kill();
  await minting.more(50);
  for (const { url } of [a, b]) {
    const { body } = await expecting(200, call(`${url}/readyz`));
    expect(body.checks).toMatchObject({ keys: 'ok' });
    expect(body.checks).not.toHaveProperty('unusable_keys');
  }
  const { body: last } = await mint(a.url, story);
  const { minted, failed } = await minting.end();
  expect(failed).toEqual([]);
  expect(minted).toBeGreaterThan(250);
  const after = await inUse();
  expect(after).toHaveLength(1);
  expect(after).not.toEqual(before);
  for (const replica of [a, b]) expect(await replica.drain()).toBe(0);
  await refusesToStart(withKeys(oldKey));

  // Follows docs/operations.md for the case that the new key is lost as well.
  await production.query('truncate signing_keys, master_key_check');
  const lost = await startReplica(withKeys(randomBytes(32).toString('base64url')));
  await expecting(200, call(`${lost.url}/readyz`));
  const form = { token: last.access_token };
  expect((await call(`${lost.url}/oauth2/introspect`, { basic: story.client, form })).body).toEqual({
    active: false,
  });
  await mint(lost.url, story);
}, 480_000);
