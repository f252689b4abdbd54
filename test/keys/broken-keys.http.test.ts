import { beforeAll, describe, expect, it } from 'vitest';
import {
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  readAtOnce,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
const logged: { message: string; key_id: unknown }[] = [];
const quiet = () => {};
const log = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  flush: quiet,
  error: (message: string, fields: { key_id?: unknown } = {}) =>
    void logged.push({ message, key_id: fields.key_id }),
};
/** Another replica, started after the active key of RS256 was damaged. */
let broker: TestBroker;
let agent: TestAgent;
let kid: string;
const identifiers = { ES256: '', RS256: '' };

beforeAll(async () => {
  const first = await startBroker({ clock });
  await createPolicy(first, readAtOnce);
  agent = await createAgent(first);
  const api = await agent.api();
  for (const alg of ['ES256', 'RS256'] as const) {
    identifiers[alg] = (await createResource(first, { token_alg: alg })).identifier;
    await api.post('/v1/grants', grantRequest(identifiers[alg])).expect(201);
  }
  const { rows } = await first.database.owner.query(
    `update signing_keys set private_sealed = '\\x00' where alg = 'RS256' and state = 'active' returning kid`,
  );
  kid = rows[0].kid;
  broker = await startBroker({ clock, database: first.database, log });
});

const tokenFor = (alg: 'ES256' | 'RS256') =>
  oauthPost(
    broker,
    '/oauth2/token',
    { grant_type: 'client_credentials', resource: identifiers[alg], scope: 'read' },
    agent,
  );

describe('a signing key that cannot be decrypted', () => {
  it('does not prevent the start, and is logged by its id', () => {
    expect(logged).toEqual([{ message: 'a signing key is not usable', key_id: kid }]);
  });

  it('stops only its own algorithm, which responds with 503', async () => {
    const refused = await tokenFor('RS256').expect(503);
    expect(refused.body.error).toBe('temporarily_unavailable');
    await tokenFor('ES256').expect(200);
    await agent.token().expect(200);
  });

  it('does not turn a token with an unknown kid into an internal error', async () => {
    const issued = await tokenFor('ES256').expect(200);
    const [, ...rest] = issued.body.access_token.split('.');
    const header = Buffer.from(JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid: 'key_unknown' }));
    const token = [header.toString('base64url'), ...rest].join('.');
    const asked = await oauthPost(broker, '/oauth2/introspect', { token }, agent).expect(200);
    expect(asked.body).toEqual({ active: false });
    await oauthPost(broker, '/oauth2/revoke', { token }, agent).expect(200);
    await apiOf(broker, token).get('/v1/grants').expect(401);
  });

  it('is named by the readiness check', async () => {
    const { body } = await apiOf(broker, undefined).get('/readyz');
    expect(body.checks).toMatchObject({ keys: 'ok', unusable_keys: kid });
  });

  it('makes every run of the job fail, which GET /v1/jobs shows', async () => {
    await broker.worker.register();
    for (let run = 0; run < 2; run += 1) {
      clock.advance(60);
      expect(await broker.worker.runNow('rotate-keys', clock.now())).toBe('failed');
    }
    const { body } = await asBootstrap(broker).get('/v1/jobs').expect(200);
    const job = body.items.find(({ name }: { name: string }) => name === 'rotate-keys');
    expect(job.last_error).toContain(`signing key ${kid} is not usable`);
  });
});
