import { createLocalJWKSet, jwtVerify } from 'jose';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { startReplica } from '../../cluster/replica.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { cli, createProduction, migrate, type Production } from '../../e2e/support/production.ts';
import { eventually } from '../../support/eventually.ts';
import {
  type Backup,
  copyDatabase,
  dumpDatabase,
  type Restored,
  type TakeBackup,
} from './support/backups.ts';
import { whyNoDump } from './support/dump.ts';

/** Objects that exist when the backup is taken. Their names say what happens to them afterwards. */
interface Before {
  story: Story;
  /** A token under a grant that is revoked. */
  revoked: string;
  /** An agent that is disabled, and a token of it. */
  disabled: Story & { access: string };
  /** `client_id:client_secret`, with a client secret that is revoked. */
  leakedClient: string;
  /** A person's API key that is revoked. */
  leakedKey: string;
  /** The id of a signing key that is declared compromised. */
  compromisedKid: string;
}

const mint = async (url: string, { client, resource }: Story): Promise<string> => {
  const form = { grant_type: 'client_credentials', resource, scope: 'read' };
  return (await expecting(200, call(`${url}/oauth2/token`, { basic: client, form }))).body.access_token;
};
const isActive = async (url: string, { client }: Story, token: string): Promise<boolean> =>
  (await expecting(200, call(`${url}/oauth2/introspect`, { basic: client, form: { token } }))).body.active;
const agentOf = ({ client }: Story): string => client.split(':')[0] ?? '';
const kids = async (url: string): Promise<string[]> =>
  (await expecting(200, call(`${url}/oauth2/jwks`))).body.keys.map(({ kid }: { kid: string }) => kid);
const brokerToken = { grant_type: 'client_credentials' };

/** Creates the objects that exist when the backup is taken. */
async function createObjects(url: string, bearer: string): Promise<Before> {
  const [story, other] = [await createStory(url, bearer), await createStory(url, bearer)];
  const secret = call(`${url}/v1/agents/${agentOf(story)}/secrets`, { bearer, json: {} });
  const people = (await expecting(200, call(`${url}/v1/admins`, { bearer }))).body.items;
  const { id } = people.find(({ email }: { email: string }) => email === 'bootstrap@localhost');
  const key = call(`${url}/v1/admins/${id}/keys`, { bearer, json: { name: 'laptop' } });
  const keys = (await expecting(200, call(`${url}/v1/keys`, { bearer }))).body.items;
  const active = keys.find(
    (one: { alg: string; status: string }) => `${one.alg} ${one.status}` === 'ES256 active',
  );
  return {
    story,
    revoked: await mint(url, story),
    disabled: { ...other, access: await mint(url, other) },
    leakedClient: `${agentOf(story)}:${(await expecting(201, secret)).body.client_secret}`,
    leakedKey: (await expecting(201, key)).body.key,
    compromisedKid: active.id,
  };
}

/** Issues a token after the backup, then ends it and the objects of `before`. Returns the token. */
async function endObjects(url: string, bearer: string, before: Before): Promise<string> {
  const { story, disabled, leakedClient, leakedKey, compromisedKid } = before;
  const post = (path: string, json: object) => expecting(200, call(`${url}${path}`, { bearer, json }));
  const later = await mint(url, story);
  await post(`/v1/agents/${agentOf(disabled)}/disable`, { reason: 'taken over' });
  const agent = (await expecting(200, call(`${url}/v1/agents/${agentOf(story)}`, { bearer }))).body;
  const newest = agent.secrets.at(-1).id;
  const remove = (path: string) => expecting(204, call(`${url}${path}`, { bearer, method: 'DELETE' }));
  await remove(`/v1/agents/${agent.id}/secrets/${newest}`);
  const people = (await expecting(200, call(`${url}/v1/admins`, { bearer }))).body.items;
  const { id } = people.find(({ email }: { email: string }) => email === 'bootstrap@localhost');
  const person = (await expecting(200, call(`${url}/v1/admins/${id}`, { bearer }))).body;
  const laptop = person.keys.find(({ name }: { name: string }) => name === 'laptop');
  await remove(`/v1/admins/${id}/keys/${laptop.id}`);
  const grants = (await expecting(200, call(`${url}/v1/grants?status=active`, { bearer }))).body.items;
  const grant = grants.find((one: { agent_id: string }) => one.agent_id === agent.id);
  await post(`/v1/grants/${grant.id}/revoke`, { reason: 'wrong model' });
  await post('/v1/keys/rotate', { key_id: compromisedKid, compromised: true, reason: 'leaked' });
  for (const token of [before.revoked, later]) expect(await isActive(url, story, token)).toBe(false);
  await expecting(401, call(`${url}/oauth2/token`, { basic: leakedClient, form: brokerToken }));
  await expecting(401, call(`${url}/oauth2/token`, { basic: disabled.client, form: brokerToken }));
  await expecting(401, call(`${url}/v1/admins`, { bearer: leakedKey }));
  return later;
}

/** Returns the events of the audit log, oldest first, as soon as at least `least` of them are served. */
const readAuditLog = (url: string, bearer: string, least: number): Promise<{ id: string; type: string }[]> =>
  eventually(async () => {
    const events: { id: string; type: string }[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const query = cursor === '' ? '' : `&cursor=${cursor}`;
      const { body } = await expecting(200, call(`${url}/v1/audit-events?limit=200${query}`, { bearer }));
      events.push(...body.items);
      cursor = body.next_cursor;
    }
    expect(events.length).toBeGreaterThanOrEqual(least);
    return events;
  });

beforeAll(ensureBuilt);

const noDump = await whyNoDump(inject('server').adminUrl);
const isServerNamed = (process.env.HALLPASS_TEST_DATABASE_URL ?? '') !== '';

describe('pg_dump and pg_restore', () => {
  if (noDump !== undefined && !isServerNamed) process.stderr.write(`\nSKIPPED, because ${noDump}\n`);

  // With a server that HALLPASS_TEST_DATABASE_URL names, no test may be skipped.
  it.skipIf(noDump !== undefined && !isServerNamed)(
    'can be used if HALLPASS_TEST_DATABASE_URL names the server',
    () => {
      expect(noDump).toBeUndefined();
    },
  );
});

const backups: [string, TakeBackup][] = [['a copy of the database', copyDatabase]];
if (noDump === undefined) backups.push(['a dump, restored into another server', dumpDatabase]);

describe.each(backups)('a broker on the restored database (%s)', (_name, take) => {
  let production: Production;
  let before: Before;
  let later: string;
  let restored: Restored;
  let env: Record<string, string>;
  let url: string;
  /** The ids of the audit events at the time of the backup. */
  let eventIds: string[];
  let admin: string;

  beforeAll(async () => {
    production = await createProduction();
    await migrate(production);
    const broker = await startReplica(production.env);
    admin = production.bootstrapKey;
    before = await createObjects(broker.url, admin);
    eventIds = (await readAuditLog(broker.url, admin, 20)).map(({ id }) => id);
    const backup: Backup = await take(production);
    await eventually(() => expecting(200, call(`${broker.url}/readyz`)));
    later = await endObjects(broker.url, admin, before);
    expect(await broker.drain()).toBe(0);
    restored = await backup.restore();
    env = { ...production.env, DATABASE_URL: restored.databaseUrl };
    const migrated = await cli({ ...env, DATABASE_OWNER_URL: restored.ownerUrl }, 'migrate');
    expect(migrated).toMatchObject({ code: 0, stdout: 'up to date\n' });
    ({ url } = await startReplica(env));
  }, 300_000);

  it('accepts again all tokens, secrets and keys that ended after the backup', async () => {
    const { story, disabled, leakedClient, leakedKey, compromisedKid } = before;
    expect(await isActive(url, story, before.revoked)).toBe(true);
    expect(await isActive(url, disabled, disabled.access)).toBe(true);
    await expecting(200, call(`${url}/oauth2/token`, { basic: leakedClient, form: brokerToken }));
    await expecting(200, call(`${url}/v1/admins`, { bearer: leakedKey }));
    expect(await kids(url)).toContain(compromisedKid);
  });

  it('treats a token that was issued after the backup as inactive, but offline verifiers accept it until it expires', async () => {
    expect(await isActive(url, before.story, later)).toBe(false);
    const keys = createLocalJWKSet((await expecting(200, call(`${url}/oauth2/jwks`))).body);
    const { payload } = await jwtVerify(later, keys, { issuer: 'https://hallpass.test', typ: 'at+jwt' });
    expect(payload.sub).toBe(agentOf(before.story));
  });

  it('continues the audit log of the backup', async () => {
    // The newest event is about the token that was issued to the leaked secret in the first test.
    const events = await readAuditLog(url, admin, eventIds.length + 1);
    expect(events.slice(0, eventIds.length).map(({ id }) => id)).toEqual(eventIds);
    expect(events.at(-1)).toMatchObject({ type: 'token.issued' });
  });

  it('ends every grant, request and token permanently with hallpass end-all; then agents must request again', async () => {
    const { story, disabled } = before;
    const { code, stdout } = await cli(env, 'end-all');
    expect([code, stdout]).toEqual([0, 'ended every grant, request and token of 2 agents\n']);
    for (const token of [before.revoked, story.token]) expect(await isActive(url, story, token)).toBe(false);
    expect(await isActive(url, disabled, disabled.access)).toBe(false);
    await expecting(401, call(`${url}/v1/grants`, { bearer: story.token }));
    const open = await call(`${url}/v1/grants?status=active`, { bearer: admin });
    const pending = await call(`${url}/v1/grants?status=pending`, { bearer: admin });
    expect([open.body.items, pending.body.items]).toEqual([[], []]);
    const again = await call(`${url}/oauth2/token`, { basic: story.client, form: brokerToken });
    const json = { resource: story.resource, scopes: ['read'], duration_seconds: 60, reason: 'again' };
    await expecting(201, call(`${url}/v1/grants`, { bearer: again.body.access_token, json }));
    expect(await isActive(url, story, await mint(url, story))).toBe(true);
  });

  it('removes a compromised signing key when it is declared compromised again', async () => {
    const json = {
      key_id: before.compromisedKid,
      compromised: true,
      reason: 'leaked, according to the copy of the audit log',
    };
    await expecting(200, call(`${url}/v1/keys/rotate`, { bearer: admin, json }));
    expect(await kids(url)).not.toContain(before.compromisedKid);
  });

  it('has no valid credential after hallpass end-all --credentials, until hallpass admin recover', async () => {
    const { code, stdout } = await cli(env, 'end-all', '--credentials');
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/ 2 agents, 3 credentials of clients and 4 admin keys; /),
    ]);
    for (const basic of [before.leakedClient, before.story.client, before.disabled.client])
      await expecting(401, call(`${url}/oauth2/token`, { basic, form: brokerToken }));
    for (const bearer of [before.leakedKey, admin])
      await expecting(401, call(`${url}/v1/admins`, { bearer }));
    const [key = ''] = (await cli(env, 'admin', 'recover', 'bootstrap@localhost')).stdout.split('\n');
    await expecting(200, call(`${url}/v1/admins`, { bearer: key }));
    const byCli = expect.objectContaining({ kind: 'system', id: 'cli' });
    // The API serves events that are older than every running transaction of the server, of any database.
    await eventually(async () => {
      const { body } = await call(`${url}/v1/audit-events?type=all.ended`, { bearer: key });
      const ends = body.items.map(({ actor, details }: { actor: object; details: object }) => [
        actor,
        details,
      ]);
      expect(ends).toEqual([
        [byCli, { agents: 2, client_secrets: 0, admin_keys: 0, subject_issuers: 0 }],
        [byCli, { agents: 2, client_secrets: 3, admin_keys: 4, subject_issuers: 0 }],
      ]);
    });
  });
});
