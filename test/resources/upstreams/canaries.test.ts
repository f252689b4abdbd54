import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../../src/platform/log.ts';
import { failWrites } from '../../oauth/fixtures.ts';
import {
  type Api,
  apiOf,
  asBootstrap,
  createAgent,
  createUpstream,
  startBroker,
  type TestBroker,
  upstreamTerms,
} from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { dumpTables } from '../../support/table-dump.ts';

/** Secrets as canaries: they are all sent, and then everything that is stored or output is searched for them. */
const secrets = [1, 2, 3, 4, 5, 6].map((number) => `canary-${number}-of+the/vendor=`);
const lines: string[] = [];
const answers: string[] = [];
const statements: string[] = [];
let broker: TestBroker;
let admin: Api;

async function collect(call: PromiseLike<{ text: string; headers: unknown }>): Promise<void> {
  const { text, headers } = await call;
  answers.push(text, JSON.stringify(headers));
  const { rows } = await broker.database.owner.query('select query from pg_stat_activity');
  statements.push(...rows.map(({ query }) => String(query)));
}

/** Returns the secrets that a text has, in any form in which one could appear. */
function found(text: string): string[] {
  return secrets.filter((secret) =>
    [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64'),
      Buffer.from(secret).toString('hex'),
    ].some((form) => text.includes(form)),
  );
}

const newResource = (slug: string, credential: { type: string } & Record<string, unknown>) => ({
  ...upstreamTerms(slug, { credential }),
  identifier: `https://${slug}-${credential.type}.example`,
  name: 'API',
  max_grant_seconds: 3600,
});

/** Sends the secrets in every place where one may be sent, with success and with every kind of failure. */
async function use(): Promise<void> {
  const [first, second, third, fourth, fifth, sixth] = secrets;
  const resource = await createUpstream(broker, { credential: { type: 'bearer', secret: first } });
  const path = `/v1/resources/${resource.id}`;
  const credentials = `${path}/upstream-credentials`;
  await collect(admin.post(credentials, { secret: second }));
  await collect(admin.post(credentials, { secret: third }));
  const header = { type: 'header', name: 'x-api-key', secret: fourth };
  await collect(admin.patch(path, { upstream: { credential: header } }));
  await collect(
    admin.post('/v1/resources', newResource('basic', { type: 'basic', username: 'a', secret: fifth })),
  );
  // Refusals: of a rule, of the contract, of the caller, and of the slug.
  await collect(admin.post(credentials, { secret: `${sixth}é` }));
  await collect(admin.post(credentials, { secret: `${sixth}\n` }));
  await collect(admin.post(credentials, { secret: sixth?.repeat(1_000) }));
  await collect(admin.post(credentials, { secret: [sixth] }));
  await collect(admin.post(credentials, { secret: sixth, activates_at: sixth }));
  await collect(admin.post('/v1/resources', newResource('basic', { type: 'none', secret: sixth })));
  await collect(admin.post('/v1/resources', newResource('basic', { type: 'bearer', secret: sixth })));
  await collect(admin.patch(path, { upstream: { base_url: 'https://a.example/?', credential: header } }));
  const agent = await (await createAgent(broker)).api();
  await collect(agent.post(credentials, { secret: sixth }));
  await collect(apiOf(broker, undefined).post(credentials, { secret: sixth }));
  for (const table of ['audit_events', 'upstream_credentials']) {
    const undo = await failWrites(broker.database, `insert on ${table}`, 'true');
    await collect(admin.post(credentials, { secret: sixth }));
    await collect(admin.patch(path, { upstream: { credential: header } }));
    await collect(admin.post('/v1/resources', newResource('other', { type: 'bearer', secret: sixth })));
    await undo();
  }
  // The newest events are served once every older transaction of the server has ended.
  await eventually(async () => {
    const { text } = await admin.get('/v1/audit-events?limit=200').expect(200);
    expect(text).toContain('upstream_credential.added');
  });
  for (const read of [path, '/v1/resources?limit=200', '/v1/audit-events?limit=200'])
    await collect(admin.get(read));
}

beforeAll(async () => {
  broker = await startBroker({ log: createLog('debug', { write: (line) => lines.push(line) }) });
  admin = asBootstrap(broker);
  await use();
});

describe('the secret of an upstream', () => {
  it('is found by this search in a text that has it', () => {
    for (const secret of secrets) expect(found(`x${secret}x`)).toEqual([secret]);
  });

  it('is in no log line', () => {
    const log = lines.join('');
    expect(log).toContain('createUpstreamCredential');
    expect(log).toMatch(/"level":50/);
    expect(found(log)).toEqual([]);
  });

  it('is in no response', () => {
    expect(answers.length).toBeGreaterThan(40);
    for (const code of [
      'slug-taken',
      'invalid-request',
      'conflict',
      'forbidden',
      'upstream_credential.added',
    ])
      expect(answers.join('\n')).toContain(code);
    expect(found(answers.join('\n'))).toEqual([]);
  });

  it('is in no statement that the database server shows, and in no column', async () => {
    expect(found(statements.join('\n'))).toEqual([]);
    const dump = await dumpTables(broker.database.owner);
    for (const table of ['upstreams', 'upstream_credentials', 'audit_events'])
      expect(dump).toMatch(new RegExp(`^${table} `, 'm'));
    expect(found(dump)).toEqual([]);
  });
});
