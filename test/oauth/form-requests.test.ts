import { beforeAll, describe, expect, it } from 'vitest';
import {
  createAgent,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { type Answer, send } from '../support/http.ts';
import { basicAuth, countTokens, createServerOf, formType } from './fixtures.ts';

let broker: TestBroker;
let agent: TestAgent;
let server: { id: string; secret: string };
let token: string;

beforeAll(async () => {
  broker = await startBroker({});
  agent = await createAgent(broker);
  server = await createServerOf(broker, await createResource(broker));
  token = (await agent.token().expect(200)).body.access_token;
});

const operations = ['token', 'introspect', 'revoke'] as const;
type Operation = (typeof operations)[number];
type Headers = Record<string, string | string[]>;

interface Change {
  headers?: Headers;
  query?: string;
  body?: string | Buffer;
}

/** Sends a valid request of the operation with one change. The token that it revokes does not exist. */
function post(operation: Operation, { headers = {}, query = '', body }: Change = {}): Promise<Answer> {
  const client = operation === 'introspect' ? server : agent;
  const form = operation === 'token' ? 'grant_type=client_credentials' : 'token=x';
  return send(broker, {
    method: 'POST',
    path: `/oauth2/${operation}${query}`,
    headers: { ...basicAuth(client), 'Content-Type': formType, ...headers },
    body: body ?? form,
  });
}

/** Asserts that the request is refused with an OAuth error that must not be cached, and that nothing is issued. */
async function expectRefused(operation: Operation, change: Change, status: number): Promise<Answer> {
  const before = await countTokens(broker.database);
  const answer = await post(operation, change);
  expect({ status: answer.status, error: answer.json.error }).toEqual({ status, error: 'invalid_request' });
  expect(answer.headers['cache-control']).toBe('no-store');
  expect(await countTokens(broker.database)).toBe(before);
  return answer;
}

describe.each(operations)('a request to /oauth2/%s', (operation) => {
  it('accepts a form without parameters of its content type, with a UTF-8 charset, and with the identity encoding', async () => {
    expect((await post(operation)).status).toBe(200);
    for (const type of [`${formType};charset=utf-8`, `${formType}; charset="UTF-8"`, `${formType}; x=y`]) {
      expect((await post(operation, { headers: { 'Content-Type': type } })).status).toBe(200);
    }
    expect((await post(operation, { headers: { 'Content-Encoding': 'identity' } })).status).toBe(200);
    expect((await post(operation, { query: '?' })).status).toBe(200);
  });

  it.each([
    ['a byte that UTF-8 never has', Buffer.from([0x78, 0x3d, 0xff])],
    ['a character that is cut off', Buffer.from([0x78, 0x3d, 0xe2, 0x82])],
    ['an overlong slash', Buffer.from([0x78, 0x3d, 0xc0, 0xaf])],
    ['a surrogate', Buffer.from([0x78, 0x3d, 0xed, 0xa0, 0x80])],
  ])('is refused with %s', async (_, bytes) => {
    const form = operation === 'token' ? 'grant_type=client_credentials&' : 'token=x&';
    await expectRefused(operation, { body: Buffer.concat([Buffer.from(form), bytes]) }, 400);
  });

  it.each([
    'charset=iso-8859-1',
    'charset=utf-16',
    'charset="us-ascii"',
    'charset=',
    'charset',
    'charset=utf-8; charset=latin1',
    'CHARSET=utf-7',
  ])('is refused in another character set: %s', async (parameter) => {
    await expectRefused(operation, { headers: { 'Content-Type': `${formType};${parameter}` } }, 415);
  });

  it.each([
    'gzip',
    'br',
    'identity, gzip',
    'x-unknown',
  ])('is refused with the content encoding %s', async (name) => {
    await expectRefused(operation, { headers: { 'Content-Encoding': name } }, 415);
  });

  it('is refused with two content types, equal or not', async () => {
    for (const second of [formType, 'application/json']) {
      await expectRefused(operation, { headers: { 'Content-Type': [formType, second] } }, 400);
    }
  });

  it('is refused with any query', async () => {
    for (const query of ['?x=y', '?scope=read', '?grant_type=client_credentials', '?&', '?%zz']) {
      const { json } = await expectRefused(operation, { query }, 400);
      expect(json.error_description).not.toContain('credentials');
    }
  });

  it('gets an answer that says credentials do not belong in a URL, and does not repeat them', async () => {
    const secret = 'hps_0123456789';
    for (const name of [
      'client_secret',
      'client_assertion',
      'token',
      'access_token',
      'refresh_token',
      'assertion',
      'subject_token',
      'actor_token',
      'code',
      'Client_Secret',
      'client%5Fsecret',
    ]) {
      const { json, text } = await expectRefused(operation, { query: `?a=b&${name}=${secret}` }, 400);
      expect(json.error_description).toContain('credentials must not be in a URL');
      expect(text).not.toContain(secret);
    }
  });
});

describe('a token', () => {
  it('is not revoked by a request that has it in its query', async () => {
    await expectRefused('revoke', { query: `?token=${token}`, body: '' }, 400);
    const answer = await send(broker, {
      method: 'GET',
      path: '/v1/grants',
      headers: { Authorization: `Bearer ${token}` },
    });
    expect(answer.status).toBe(200);
  });
});
