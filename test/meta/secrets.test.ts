import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { hashSecret } from '../../src/crypto/hash.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { createLog } from '../../src/platform/log.ts';
import { createSystemRandom, generateSecret } from '../../src/platform/random.ts';
import {
  agentOf,
  apiOf,
  grantRequest,
  oauthPost,
  readAtOnce,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { bearer, send } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';

/** Secrets as canaries: they are all used, and then everything that is stored or output is searched for them. */
const masterKeyBytes = randomBytes(32);
const bootstrap = generateSecret(createSystemRandom(), 'hpa');
const clock = new FakeClock();
const lines: string[] = [];
/** Every response after a secret was shown, to any caller. */
const answers: string[] = [];
const statements: string[] = [];
/** The secrets by name, each in every form in which it could appear. */
const secrets = new Map<string, string[]>();
let broker: TestBroker;
let agentId: string;

function keep(name: string, secret: string): string {
  secrets.set(name, [secret, Buffer.from(secret).toString('base64'), encodeURIComponent(secret)]);
  return secret;
}

/** Adds a token to the secrets by its signature: the claims alone are not secret. */
function keepToken(name: string, token: string): string {
  secrets.set(name, [token, token.split('.')[2] ?? token]);
  return token;
}

async function collect(call: PromiseLike<{ text: string; headers: unknown }>): Promise<void> {
  const { text, headers } = await call;
  answers.push(text, JSON.stringify(headers));
  const { rows } = await broker.database.owner.query('select query from pg_stat_activity');
  statements.push(...rows.map(({ query }) => String(query)));
}

/** Creates one object of each kind. Returns the clients. */
async function createStory() {
  const admin = apiOf(broker, bootstrap);
  await admin.post('/v1/policies', { name: 'low risk at once', cedar: readAtOnce }).expect(201);
  const email = { email: 'ada@example.com' };
  const person = await admin.post('/v1/admins', { name: 'Ada', roles: ['approver'], ...email }).expect(201);
  const issued = await admin.post(`/v1/admins/${person.body.id}/keys`, { name: 'laptop' }).expect(201);
  const approver = apiOf(broker, keep('API key', issued.body.key));
  const created = await admin
    .post('/v1/agents', {
      name: 'agent',
      owner: (await admin.get('/v1/admins').expect(200)).body.items[0].id,
      environment: 'production',
      token_endpoint_auth_method: 'client_secret_basic',
    })
    .expect(201);
  agentId = created.body.id;
  const agent = agentOf(broker, {
    id: agentId,
    secret: keep('client secret', created.body.client_secret),
  });
  const second = await admin.post(`/v1/agents/${agentId}/secrets`).expect(201);
  keep('second client secret', second.body.client_secret);
  const resource = await admin
    .post('/v1/resources', {
      identifier: 'https://llm.example/v1',
      name: 'API',
      kind: 'api',
      scopes: [{ name: 'read', description: 'Read', risk: 'low' }],
      max_grant_seconds: 3600,
    })
    .expect(201);
  const server = await admin.post(`/v1/resources/${resource.body.id}/secrets`).expect(201);
  keep('resource secret', server.body.client_secret);
  return { admin, approver, agent, resource: resource.body, serverSecret: server.body.client_secret };
}

/** Uses the secrets, correctly and wrongly, in every place where a secret may be sent. */
async function use({
  admin,
  approver,
  agent,
  resource,
  serverSecret,
}: Awaited<ReturnType<typeof createStory>>) {
  const brokerToken = keepToken('broker token', (await agent.token().expect(200)).body.access_token);
  const api = apiOf(broker, brokerToken);
  const granted = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  const { body } = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
  const token = keepToken('access token', body.access_token);
  const server = { id: resource.id, secret: serverSecret };
  const wrong = { id: agent.id, secret: serverSecret };
  const everything = [...secrets.values()].map(([secret]) => secret ?? '');
  await collect(oauthPost(broker, '/oauth2/introspect', { token }, server));
  await collect(oauthPost(broker, '/oauth2/introspect', { token }, wrong));
  await collect(oauthPost(broker, '/oauth2/token', { grant_type: agent.secret }, agent));
  await collect(oauthPost(broker, '/oauth2/token', { client_id: agent.secret, client_secret: bootstrap }));
  await collect(approver.post(`/v1/grants/${granted.body.id}/approve`, { request_digest: agent.secret }));
  await collect(approver.post('/v1/agents', {}));
  for (const path of ['/v1/admins', `/v1/agents/${agent.id}`, `/v1/resources/${resource.id}`, '/v1/keys']) {
    await collect(admin.get(path));
  }
  for (const secret of everything) {
    await collect(
      send(broker, { method: 'GET', path: `/v1/admins?key=${secret}`, headers: bearer(bootstrap) }),
    );
    await collect(send(broker, { method: 'GET', path: `/v1/agents/${secret}`, headers: bearer(bootstrap) }));
    await collect(
      send(broker, { method: 'GET', path: `/${secret}`, headers: { 'User-Agent': secret, Referer: secret } }),
    );
    await collect(send(broker, { method: 'GET', path: '/v1/admins', headers: bearer(`${secret}x`) }));
    await collect(admin.post('/v1/admins', { name: 5, email: secret, roles: [secret] }));
  }
  await collect(oauthPost(broker, '/oauth2/revoke', { token }, agent));
  await collect(oauthPost(broker, '/oauth2/revoke', { token }, server));
}

beforeAll(async () => {
  broker = await startBroker({
    clock,
    log: createLog('debug', { write: (line) => lines.push(line) }),
    config: { bootstrapAdminKey: keep('bootstrap key', bootstrap), masterKey: new MasterKey(masterKeyBytes) },
  });
  const story = await createStory();
  await use(story);
  for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
    secrets.set(`master key in ${encoding}`, [masterKeyBytes.toString(encoding)]);
  }
  // The errors of a database driver reach the log, while the requests contain the secrets.
  for (const table of ['audit_events', 'agent_secrets', 'admin_keys']) {
    await broker.database.owner.query(`alter table ${table} rename to elsewhere`);
    await collect(story.agent.token({ resource: story.resource.identifier, scope: 'read' }));
    await collect(
      oauthPost(broker, '/oauth2/introspect', { token: 'x' }, { id: story.agent.id, secret: 'hps_x' }),
    );
    await collect(story.approver.get('/v1/admins'));
    await broker.database.owner.query(`alter table elsewhere rename to ${table}`);
  }
  clock.advance(60);
  await collect(story.admin.get('/v1/audit-events?limit=200'));
});

/** Returns the names of the secrets that `text` contains. */
function found(text: string): string[] {
  return [...secrets].filter(([, forms]) => forms.some((form) => text.includes(form))).map(([name]) => name);
}

describe('a secret', () => {
  it('is found by this search where it is present', () => {
    expect(secrets.size).toBe(11);
    for (const [name, [secret]] of secrets) expect(found(`x${secret}x`)).toContain(name);
  });

  it('is in no log line, although all of these requests are logged', () => {
    const log = lines.join('');
    expect(log).toContain(agentId);
    expect(log).toMatch(/"level":50/);
    for (const operation of ['issueToken', 'introspectToken', 'revokeToken', 'createAgent', 'approveGrant']) {
      expect(log).toContain(operation);
    }
    expect(found(log)).toEqual([]);
  });

  it('is in no response except the one that issues it', () => {
    const text = answers.join('\n');
    expect(text).toContain(agentId);
    expect(answers.length).toBeGreaterThan(100);
    expect(found(text)).toEqual([]);
  });

  it('is in no statement that the database server shows', () => {
    expect(statements.some((statement) => /insert into|select/.test(statement))).toBe(true);
    expect(found(statements.join('\n'))).toEqual([]);
  });

  it('is in no table: issued secrets are stored as digests, signing keys encrypted', async () => {
    const dump = await dumpTables(broker.database.owner);
    for (const name of [
      'bootstrap key',
      'API key',
      'client secret',
      'second client secret',
      'resource secret',
    ]) {
      const [secret = ''] = secrets.get(name) ?? [];
      expect(dump, name).toContain(hashSecret(secret).toString('hex'));
    }
    expect(dump).toMatch(/^audit_events .*token\.issued/m);
    expect(found(dump)).toEqual([]);
    expect(dump).not.toMatch(/"+[dpqk]"+ ?:|PRIVATE KEY/);
    expect(dump).not.toContain(masterKeyBytes.toString('hex'));
  });

  it('is in no metric', async () => {
    const { metrics } = broker;
    const text = await new Promise<string>((resolve) => {
      const response = { writeHead: () => response, end: (body?: string) => resolve(body ?? '') };
      metrics({} as never, response as never);
    });
    expect(text).toContain('hallpass_http_requests_total');
    expect(found(text)).toEqual([]);
  });
});
