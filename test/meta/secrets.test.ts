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

/** Secrets as canaries: a whole story is told with them, and then everything that is kept or said is searched. */
const masterKeyBytes = randomBytes(32);
const bootstrap = generateSecret(createSystemRandom(), 'hpa');
const clock = new FakeClock();
const lines: string[] = [];
/** What was answered to anybody after a secret had been shown the one time it is. */
const answers: string[] = [];
const statements: string[] = [];
/** By name; in each form in which it could turn up. */
const secrets = new Map<string, string[]>();
let broker: TestBroker;
let agentId: string;

function keep(name: string, secret: string): string {
  secrets.set(name, [secret, Buffer.from(secret).toString('base64'), encodeURIComponent(secret)]);
  return secret;
}

/** The signature is what makes a token one; the claims alone are no secret. */
function keepToken(name: string, token: string): string {
  secrets.set(name, [token, token.split('.')[2] ?? token]);
  return token;
}

async function say(call: PromiseLike<{ text: string; headers: unknown }>): Promise<void> {
  const { text, headers } = await call;
  answers.push(text, JSON.stringify(headers));
  const { rows } = await broker.database.owner.query('select query from pg_stat_activity');
  statements.push(...rows.map(({ query }) => String(query)));
}

/** Creates one of everything; answers the clients. */
async function tell() {
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

/** Uses them, rightly and wrongly, in all the places where a secret may stand. */
async function use({ admin, approver, agent, resource, serverSecret }: Awaited<ReturnType<typeof tell>>) {
  const brokerToken = keepToken('broker token', (await agent.token().expect(200)).body.access_token);
  const api = apiOf(broker, brokerToken);
  const granted = await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
  const { body } = await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
  const token = keepToken('access token', body.access_token);
  const server = { id: resource.id, secret: serverSecret };
  const wrong = { id: agent.id, secret: serverSecret };
  const everything = [...secrets.values()].map(([secret]) => secret ?? '');
  await say(oauthPost(broker, '/oauth2/introspect', { token }, server));
  await say(oauthPost(broker, '/oauth2/introspect', { token }, wrong));
  await say(oauthPost(broker, '/oauth2/token', { grant_type: agent.secret }, agent));
  await say(oauthPost(broker, '/oauth2/token', { client_id: agent.secret, client_secret: bootstrap }));
  await say(approver.post(`/v1/grants/${granted.body.id}/approve`, { request_digest: agent.secret }));
  await say(approver.post('/v1/agents', {}));
  for (const path of ['/v1/admins', `/v1/agents/${agent.id}`, `/v1/resources/${resource.id}`, '/v1/keys']) {
    await say(admin.get(path));
  }
  for (const secret of everything) {
    await say(send(broker, { method: 'GET', path: `/v1/admins?key=${secret}`, headers: bearer(bootstrap) }));
    await say(send(broker, { method: 'GET', path: `/v1/agents/${secret}`, headers: bearer(bootstrap) }));
    await say(
      send(broker, { method: 'GET', path: `/${secret}`, headers: { 'User-Agent': secret, Referer: secret } }),
    );
    await say(send(broker, { method: 'GET', path: '/v1/admins', headers: bearer(`${secret}x`) }));
    await say(admin.post('/v1/admins', { name: 5, email: secret, roles: [secret] }));
  }
  await say(oauthPost(broker, '/oauth2/revoke', { token }, agent));
  await say(oauthPost(broker, '/oauth2/revoke', { token }, server));
}

beforeAll(async () => {
  broker = await startBroker({
    clock,
    log: createLog('debug', { write: (line) => lines.push(line) }),
    config: { bootstrapAdminKey: keep('bootstrap key', bootstrap), masterKey: new MasterKey(masterKeyBytes) },
  });
  const story = await tell();
  await use(story);
  for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
    secrets.set(`master key in ${encoding}`, [masterKeyBytes.toString(encoding)]);
  }
  // A database that does not work shows its driver's errors to the log, while the secrets go by.
  for (const table of ['audit_events', 'agent_secrets', 'admin_keys']) {
    await broker.database.owner.query(`alter table ${table} rename to elsewhere`);
    await say(story.agent.token({ resource: story.resource.identifier, scope: 'read' }));
    await say(
      oauthPost(broker, '/oauth2/introspect', { token: 'x' }, { id: story.agent.id, secret: 'hps_x' }),
    );
    await say(story.approver.get('/v1/admins'));
    await broker.database.owner.query(`alter table elsewhere rename to ${table}`);
  }
  clock.advance(60);
  await say(story.admin.get('/v1/audit-events?limit=200'));
});

/** Names of the secrets that stand somewhere in `text`. */
function found(text: string): string[] {
  return [...secrets].filter(([, forms]) => forms.some((form) => text.includes(form))).map(([name]) => name);
}

describe('a secret', () => {
  it('is found by this search where it is', () => {
    expect(secrets.size).toBe(11);
    for (const [name, [secret]] of secrets) expect(found(`x${secret}x`)).toContain(name);
  });

  it('is in no log line, although there are lines about everything', () => {
    const log = lines.join('');
    expect(log).toContain(agentId);
    expect(log).toMatch(/"level":50/);
    for (const operation of ['issueToken', 'introspectToken', 'revokeToken', 'createAgent', 'approveGrant']) {
      expect(log).toContain(operation);
    }
    expect(found(log)).toEqual([]);
  });

  it('is in no answer but the one that it is given out with', () => {
    const told = answers.join('\n');
    expect(told).toContain(agentId);
    expect(answers.length).toBeGreaterThan(100);
    expect(found(told)).toEqual([]);
  });

  it('is in no statement that the server shows', () => {
    expect(statements.some((statement) => /insert into|select/.test(statement))).toBe(true);
    expect(found(statements.join('\n'))).toEqual([]);
  });

  it('is in no table: of what was given out there is the digest, of signing keys what is sealed', async () => {
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

  it('is in no figure that is scraped', async () => {
    const { metrics } = broker;
    const text = await new Promise<string>((resolve) => {
      const response = { writeHead: () => response, end: (body?: string) => resolve(body ?? '') };
      metrics({} as never, response as never);
    });
    expect(text).toContain('hallpass_http_requests_total');
    expect(found(text)).toEqual([]);
  });
});
