import type { IncomingHttpHeaders } from 'node:http';
import { beforeAll, describe, expect, it } from 'vitest';
import { isRouted, readContract } from '../../src/http/contract.ts';
import { bootstrapKey, createAgent, startBroker, type TestBroker } from '../support/broker.ts';
import { detailsOf, exampleRequest, type OperationDetails } from '../support/contract-requests.ts';
import { credentialFor } from '../support/credential-for.ts';
import { bearer, send, sendRaw, type WireRequest } from '../support/http.ts';

/** The checks of URLs and headers for every operation, and the headers of every response. */
const contract = readContract();
const all = contract.operations.map((entry) => detailsOf(contract, entry));
const cases = all.map((details) => ({ id: details.entry.id, details }));
const routed = cases.filter(({ details }) => isRouted(details.entry));
const lean = cases.filter(({ details }) => !isRouted(details.entry));

let broker: TestBroker;
let agentToken: string;
beforeAll(async () => {
  broker = await startBroker();
  agentToken = (await (await createAgent(broker)).token().expect(200)).body.access_token;
});

function request(details: OperationDetails): WireRequest & { headers: Record<string, string> } {
  const example = exampleRequest(details);
  return { ...example, headers: { ...example.headers, ...credentialFor(details, agentToken) } };
}

const requestIds = new Set<unknown>();

/** Returns the headers that all responses must have in common. Asserts that the request id is new. */
function commonHeaders(headers: IncomingHttpHeaders) {
  const id = headers['x-request-id'];
  expect(id).toMatch(/^req_[0-7][0-9a-hjkmnp-tv-z]{25}$/);
  expect(requestIds).not.toContain(id);
  requestIds.add(id);
  const own = ['x-request-id', 'date', 'connection', 'keep-alive', 'content-type', 'content-length'];
  const perAnswer = [
    'cache-control',
    'pragma',
    'www-authenticate',
    'allow',
    'retry-after',
    'location',
    'etag',
  ];
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => ![...own, ...perAnswer].includes(name)),
  );
}

/**
 * The expected common headers. They are not taken from a response, so that a header that every response lacks is
 * noticed.
 */
const securityHeaders = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'SAMEORIGIN',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0',
};

describe.each(cases)('$id', ({ details }) => {
  it('responds with the same headers as all others, to success and failure, and with a new request id', async () => {
    const wire = request(details);
    const mine = { ...wire, headers: { ...wire.headers, 'X-Request-Id': 'req_mine' } };
    for (const one of [mine, { ...mine, method: 'PURGE' }, { ...mine, headers: {} }]) {
      const answer = await send(broker, one);
      const { 'access-control-allow-origin': origin, ...common } = commonHeaders(answer.headers);
      expect(common).toEqual(securityHeaders);
      const isPublic = /max-age/.test(answer.headers['cache-control'] ?? '');
      expect(isPublic || answer.headers['cache-control'] === 'no-store').toBe(true);
      // Scripts of another origin may read only public documents.
      expect(isPublic ? [undefined, '*'] : [undefined]).toContain(origin);
    }
  });

  it('is refused with another method, and names the allowed ones', async () => {
    const { path } = request(details);
    const there = all.filter(({ entry }) => entry.path === details.entry.path);
    const named = there.map(({ entry }) => entry.method.toUpperCase());
    const methods = [...named, ...(named.includes('GET') ? ['HEAD'] : [])].sort();
    const others = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'].filter(
      (method) => !methods.includes(method),
    );
    for (const method of others) {
      const headers = { ...bearer(bootstrapKey), 'Content-Type': 'application/json' };
      const answer = await send(broker, {
        method,
        path,
        headers,
        body: method === 'TRACE' ? undefined : '{}',
      });
      expect(answer.status, method).toBe(405);
      expect(answer.headers.allow?.split(', ').sort(), method).toEqual(methods);
    }
  });
});

describe.each(routed.filter(({ details }) => details.entry.method === 'get'))('$id', ({ details }) => {
  it('answers HEAD as GET, without a body', async () => {
    for (const one of [request(details), { ...request(details), headers: {} }]) {
      const got = await send(broker, one);
      const head = await send(broker, { ...one, method: 'HEAD' });
      expect(got.text).not.toBe('');
      expect([head.status, head.text]).toEqual([got.status, '']);
      const own = { 'x-request-id': '', date: '' };
      expect({ ...head.headers, ...own }).toEqual({ ...got.headers, ...own });
    }
  });
});

describe.each(routed)('$id', ({ details }) => {
  const isOauth = details.entry.path.startsWith('/oauth2/');
  const declared = details.parameters.filter((parameter) => parameter.in === 'query');
  const expect400 = async (query: string, code = 'invalid-request') => {
    const wire = request(details);
    const answer = await send(broker, { ...wire, path: `${wire.path}?${query}` });
    expect(answer.status, query).toBe(400);
    if (isOauth) expect(answer.json, query).toMatchObject({ error: 'invalid_request' });
    else expect(answer.json, query).toMatchObject({ status: 400, code });
    expect(answer.headers['content-type']).toMatch(
      isOauth ? /^application\/json/ : /^application\/problem\+json$/,
    );
  };

  it('is refused with a query parameter that is unknown, repeated, of another type, or has control characters', async () => {
    for (const query of ['unknown=1', '__proto__=1', 'constructor=1', 'a%00b=1', '%ff=1', 'x=%zz', '=']) {
      await expect400(query);
    }
    for (const { name, schema } of declared) {
      const numbers = ['-1', '1h', '1e400', '2147483648', '9007199254740993', '1.5', 'NaN'];
      const times = ['2026-02-30T10:00:00Z', '2026-12-31T23:59:60Z', 'now'];
      const texts = ['%00', '%1b', 'a%7f', '%ed%a0%80', '%ff'];
      const typed = schema.type === 'integer' ? numbers : schema.format === 'date-time' ? times : [];
      for (const value of ['', ...texts, ...typed]) await expect400(`${name}=${value}`);
      await expect400(`${name}=1&${name}=2`);
      await expect400(`${name}=1&%${name.charCodeAt(0).toString(16)}${name.slice(1)}=1`);
    }
  });

  it('is refused with an invalid id', async () => {
    const { path } = request(details);
    const ids = path.match(/[a-z]{3}_[0-9a-z]{26}/g) ?? [];
    for (const id of ids) {
      const wrong = ['1', id.toUpperCase(), `${id}a`, id.slice(0, -1), '..%2f..', "'--", '%00', '%ff', '%'];
      for (const other of wrong) {
        const answer = await send(broker, { ...request(details), path: path.replace(id, other) });
        expect(answer.json, other).toMatchObject({ status: 400, code: 'invalid-request' });
      }
    }
  });

  it('is refused with two Authorization headers, even if one is valid', async () => {
    if (Object.keys(credentialFor(details, agentToken)).length === 0) return;
    const { Authorization = '' } = credentialFor(details, agentToken);
    const wire = request(details);
    for (const pair of [
      [Authorization, 'Bearer x'],
      ['Bearer x', Authorization],
      [Authorization, Authorization],
    ]) {
      const answer = await send(broker, { ...wire, headers: { ...wire.headers, Authorization: pair } });
      expect(answer.json).toMatchObject({ status: 400, code: 'invalid-request' });
    }
  });
});

describe.each(lean)('$id', ({ details }) => {
  const post = (body: string | Buffer | undefined, headers: Record<string, string | string[]> = {}) => {
    const example = exampleRequest(details);
    return send(broker, { ...example, headers: { ...example.headers, ...headers }, body });
  };

  it('accepts forms up to 16 kB and refuses larger ones, with or without a Content-Length', async () => {
    const base = `${exampleRequest(details).body}&x=`;
    expect(await post(base.padEnd(16_384, 'x'))).toMatchObject({ status: 401 });
    const tooLarge = base.padEnd(16_385, 'x');
    for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }]) {
      const answer = await post(tooLarge, headers);
      expect(answer).toMatchObject({ status: 413, json: { error: 'invalid_request' } });
    }
  });

  it('refuses a body that is not a form', async () => {
    const types = [
      'text/plain',
      'application/json',
      'multipart/form-data; boundary=x',
      'application/x-www-form',
      '',
    ];
    for (const type of types) {
      const answer = await post('grant_type=client_credentials', { 'Content-Type': type });
      expect(answer, type).toMatchObject({ status: 415, json: { error: 'invalid_request' } });
    }
    const { path } = exampleRequest(details);
    expect(await send(broker, { method: 'POST', path, headers: {}, body: 'a=b' })).toMatchObject({
      status: 415,
    });
  });

  it('refuses a form with repeated parameters, control characters, bad encoding or too many fields, and two Authorization headers', async () => {
    const { body } = exampleRequest(details);
    const wrong = ['a=1&a=2', 'a=%00', 'a=%1b', 'a=%ed%a0%80', 'a=%ff', 'a=%', '%=a'];
    for (const more of [...wrong, 'x&y='.concat('z&'.repeat(60))]) {
      const answer = await post(`${body}&${more}`);
      expect(answer, more).toMatchObject({ status: 400, json: { error: 'invalid_request' } });
    }
    const answer = await post(`${body}`, { Authorization: ['Basic YTpi', 'Basic YTpi'] });
    expect(answer).toMatchObject({ status: 400, json: { error: 'invalid_request' } });
  });
});

describe('a path', () => {
  const get = (target: string) =>
    sendRaw(
      broker,
      `GET ${target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${bootstrapKey}\r\nConnection: close\r\n\r\n`,
    );

  it.each([
    '/',
    '/v1',
    '/v2/admins',
    '/V1/admins',
    '/v1/Admins',
    '//v1/admins',
    '/v1/admins;a=b',
    '/favicon.ico',
  ])('that is not in the contract is not found: %s', async (path) => {
    const answer = await send(broker, { method: 'GET', path, headers: bearer(bootstrapKey) });
    expect(answer.json).toMatchObject({ status: 404, code: 'not-found' });
    expect(answer.json.detail).toBeUndefined();
  });

  it.each([
    '/a/../v1/admins',
    '/a/../b%2f..',
    '/v1/%2e%2e/v1/admins',
    '/v1/./admins',
    '/v1%2fadmins',
    '*',
  ])('is not normalised: %s', async (path) => {
    expect(await get(path)).toMatch(/^HTTP\/1\.1 404 [\s\S]*"code":"not-found"/);
  });

  it('may be given with scheme and host, which are ignored', async () => {
    expect(await get('http://elsewhere.example/v1/admins')).toMatch(/^HTTP\/1\.1 200 /);
    expect(await get('http://elsewhere.example/oauth2/token')).toMatch(/^HTTP\/1\.1 405 /);
    expect(await get('http://elsewhere.example')).toMatch(/^HTTP\/1\.1 404 [\s\S]*"code":"not-found"/);
    expect(await get('http://elsewhere.example?a=b')).toMatch(/^HTTP\/1\.1 404 [\s\S]*"code":"not-found"/);
  });

  it.each([
    'http://[',
    'http://[/v1/admins',
    'http://',
    'http:///v1/admins',
    'http://a:b/v1/admins',
    'ftp://a/v1/admins',
    '/v1/admins#x',
    'http://a/v1/admins#x',
    '/oauth2/token#x',
    '/#',
  ])('that is not a valid request target is refused with a problem document: %s', async (target) => {
    const answer = await get(target);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toMatch(/\r\nX-Request-Id: req_[\s\S]*\r\nContent-Type: application\/problem\+json\r\n/i);
    expect(answer).toContain('"code":"invalid-request"');
  });

  it.each([
    '/oauth2',
    '/oauth2/',
    '/oauth2/authorize/x',
    '/oauth2/jwks/x',
    '/oauth2/Token',
  ])('under /oauth2 that does not exist responds with an OAuth error: %s', async (path) => {
    for (const method of ['GET', 'POST']) {
      const answer = await send(broker, { method, path, headers: {} });
      expect(answer.status).toBe(404);
      expect(answer.json).toEqual({ error: 'invalid_request', error_description: expect.any(String) });
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(commonHeaders(answer.headers)).toEqual(securityHeaders);
    }
  });
});
