import { randomBytes } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import supertest from 'supertest';
import { expect } from 'vitest';
import { createEnvelope } from '../../src/crypto/envelope.ts';
import { createSigner } from '../../src/crypto/jwt.ts';
import { openPrivateKey } from '../../src/keys/key-material.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import {
  asBootstrap,
  grantRequest,
  oauthPost,
  type TestAgent,
  type TestBroker,
  testMasterKey,
} from '../support/broker.ts';
import type { TestDatabase } from '../support/test-database.ts';

/** A policy that permits every request at once. */
export const permitAll = 'permit(principal, action == Action::"request", resource);';

export const formType = 'application/x-www-form-urlencoded';

/** Requests a grant, which policy must permit at once. Returns its id. */
export async function grantTo(
  agent: Pick<TestAgent, 'api'>,
  resource: { identifier: string },
  request: Record<string, unknown> = {},
): Promise<string> {
  const api = await agent.api();
  const granted = await api.post('/v1/grants', grantRequest(resource.identifier, request)).expect(201);
  return granted.body.id;
}

/** Issues a client secret for the server of the resource. Returns its credentials. */
export async function createServerOf(
  broker: { url: string },
  resource: { id: string },
): Promise<{ id: string; secret: string }> {
  const issued = await asBootstrap(broker).post(`/v1/resources/${resource.id}/secrets`).expect(201);
  return { id: resource.id, secret: issued.body.client_secret };
}

/** Requests a token with `form`, which must succeed. Returns the token. */
export async function tokenOf(agent: TestAgent, form: Record<string, string> = {}): Promise<string> {
  return (await agent.token(form).expect(200)).body.access_token;
}

export async function introspect(
  broker: { url: string },
  token: string,
  client: { id: string; secret: string },
): Promise<unknown> {
  return (await oauthPost(broker, '/oauth2/introspect', { token }, client).expect(200)).body;
}

/** Posts a body to the token endpoint without changing it. */
export function postRaw(
  broker: { url: string },
  body: string,
  headers: Record<string, string> = {},
): supertest.Test {
  return supertest(broker.url)
    .post('/oauth2/token')
    .set({ 'Content-Type': formType, ...headers })
    .send(body);
}

export function basicAuth(client: { id: string; secret: string }): { Authorization: string } {
  return { Authorization: `Basic ${Buffer.from(`${client.id}:${client.secret}`).toString('base64')}` };
}

export async function countTokens(database: TestDatabase): Promise<number> {
  const { rows } = await database.owner.query<{ n: string }>('select count(*) as n from tokens');
  return Number(rows[0]?.n);
}

interface RecordedEvent {
  id: string;
  actor_id: string;
  request_id: string;
  outcome: string;
  details: Record<string, unknown>;
}

/** Returns the audit events of one type, in the order of the log. */
export async function eventsOf(database: TestDatabase, type: string): Promise<RecordedEvent[]> {
  const { rows } = await database.owner.query<RecordedEvent>(
    'select id, actor_id, request_id, outcome, details from audit_events where type = $1 order by tx, id',
    [type],
  );
  return rows;
}

export interface ExpectedRefusal {
  status: number;
  error: string;
  /** The code and the client in the audit event; undefined for a stranger, whose refusals have no event. */
  recorded?: { code: string; client: string };
}

/** Asserts that a request is refused as the token endpoint must refuse it, and that it has written no token. */
export async function expectRefusal(
  { database }: TestBroker,
  request: supertest.Test,
  { status, error, recorded }: ExpectedRefusal,
): Promise<supertest.Response> {
  const before = { tokens: await countTokens(database), events: await eventsOf(database, 'token.refused') };
  const response = await request;
  expect({ status: response.status, error: response.body.error }).toEqual({ status, error });
  expect(Object.keys(response.body).sort()).toEqual(['error', 'error_description']);
  // RFC 6749 section 5.2: the allowed characters of an error_description.
  expect(response.body.error_description).toMatch(/^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  expect(response.headers).toMatchObject({
    'cache-control': 'no-store',
    pragma: 'no-cache',
    'content-type': 'application/json;charset=UTF-8',
    'x-request-id': expect.stringMatching(/^req_/),
  });
  expect(await countTokens(database)).toBe(before.tokens);
  const known = new Set(before.events.map(({ id }) => id));
  const fresh = (await eventsOf(database, 'token.refused')).filter(({ id }) => !known.has(id));
  const event = { actor_id: recorded?.client, outcome: 'denied', details: { code: recorded?.code } };
  const request_id = response.headers['x-request-id'];
  expect(fresh).toMatchObject(recorded === undefined ? [] : [{ ...event, request_id }]);
  expect(fresh).toHaveLength(recorded === undefined ? 0 : 1);
  return response;
}

/** Signs changed claims of a token with the broker's own key, which only the broker could do. */
export async function forge(database: TestDatabase, token: string, changes: object): Promise<string> {
  const { kid } = decodeProtectedHeader(token);
  const { rows } = await database.owner.query<{ alg: 'ES256'; private_sealed: Buffer }>(
    'select alg, private_sealed from signing_keys where kid = $1',
    [kid],
  );
  const [key] = rows;
  if (key === undefined || kid === undefined) throw new Error('no such key');
  const envelope = createEnvelope({ current: testMasterKey, old: [], random: createSystemRandom() });
  const { alg, private_sealed: privateSealed } = key;
  const privateKey = openPrivateKey(envelope, { kid, alg, privateSealed });
  return createSigner({ typ: 'at+jwt', alg, kid, privateKey })({ ...decodeJwt(token), ...changes });
}

/** Makes a kind of write (`insert on audit_events`) fail where `when` is true. Returns a function that undoes this. */
export async function failWrites(
  { owner }: TestDatabase,
  write: string,
  when: string,
): Promise<() => Promise<void>> {
  const name = `fail_${randomBytes(6).toString('hex')}`;
  const table = write.split(' ').at(-1);
  await owner.query(`create function ${name}() returns trigger language plpgsql as
    $$ begin raise exception 'broken by a test'; end $$`);
  await owner.query(`create trigger ${name} before ${write} for each row when (${when})
    execute function ${name}()`);
  return async () => {
    await owner.query(`drop trigger ${name} on ${table}`);
    await owner.query(`drop function ${name}()`);
  };
}

/** Drops every partition of used values, as if the worker had created none for weeks. */
export async function dropUsedValues({ owner }: TestDatabase): Promise<void> {
  const { rows } = await owner.query<{ name: string }>(
    "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'used_values'::regclass",
  );
  expect(rows.length).toBeGreaterThan(0);
  await owner.query(`drop table ${rows.map(({ name }) => name).join(', ')}`);
}
