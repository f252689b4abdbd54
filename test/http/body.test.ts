import { beforeAll, describe, expect, it } from 'vitest';
import { isRouted, readContract } from '../../src/http/contract.ts';
import { createAgent, startBroker, type TestBroker } from '../support/broker.ts';
import {
  detailsOf,
  exampleRequest,
  type OperationDetails,
  pathsIn,
  replaced,
  resolve,
  type Schema,
  valueAt,
} from '../support/contract-requests.ts';
import { credentialFor } from '../support/credential-for.ts';
import { type Answer, send, sendRaw } from '../support/http.ts';

/** Checks of JSON bodies, made for every operation that has a JSON body. */
const contract = readContract();
const operations = contract.operations.filter(isRouted).map((entry) => detailsOf(contract, entry));
const withBodies = operations.filter(({ body }) => body !== undefined);
const cases = withBodies.map((details) => ({ id: details.entry.id, details }));

let broker: TestBroker;
let agentToken: string;
beforeAll(async () => {
  broker = await startBroker();
  agentToken = (await (await createAgent(broker)).token().expect(200)).body.access_token;
});

interface Attempt {
  body: unknown;
  headers?: Record<string, string>;
}

/** Sends `attempt.body`: strings and bytes unchanged, anything else as JSON. */
function attempt(details: OperationDetails, { body, headers = {} }: Attempt): Promise<Answer> {
  const example = exampleRequest(details);
  const asIs = typeof body === 'string' || Buffer.isBuffer(body);
  return send(broker, {
    ...example,
    headers: { ...example.headers, ...credentialFor(details, agentToken), ...headers },
    body: asIs ? body : JSON.stringify(body),
  });
}

async function expectRefusal(details: OperationDetails, refusal: Attempt & { code: string; what: string }) {
  const { code, what } = refusal;
  const answer = await attempt(details, refusal);
  expect(answer.json.code, `${what}: ${answer.status} ${answer.text}`).toBe(code);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json).toMatchObject({ status: answer.status, request_id: answer.headers['x-request-id'] });
}

const maxBodyBytes = 256 * 1024;
/** Returns JSON that is nested `levels` deep, including the object around it. */
const nested = (levels: number): string =>
  `{"x":${'['.repeat(levels - 1)}${']'.repeat(Math.max(levels - 1, 0))}}`;

/** Bodies that every operation refuses, as text or bytes, because most of them are not JSON values. */
const hostile: [what: string, body: string | Buffer][] = [
  ['invalid JSON', '{"name":'],
  ['two values', '{}{}'],
  ['a string', '"x"'],
  ['null', 'null'],
  ['a list', '[]'],
  ['invalid UTF-8', Buffer.from('{"name":"\xff\xfe"}', 'latin1')],
  ['a lone surrogate in UTF-8', Buffer.from('{"name":"\xed\xa0\x80"}', 'latin1')],
  ['an unknown field', '{"unknown":1}'],
  ['__proto__', '{"__proto__":{"roles":["admin"]}}'],
  ['constructor', '{"constructor":{"prototype":{}}}'],
  ['a field whose name has a NUL', '{"a\\u0000b":1}'],
  ['33 levels', nested(33)],
  ['100,000 levels', nested(100_000)],
  ['200,000 arrays that are not closed', '['.repeat(200_000)],
];
const forbiddenTexts = ['\u0000', 'a\u001bb', '\u007f', 'a\u0000', '\ud800', 'a\udc00b'];
const wrongInstants = [
  '2026-03-02',
  '2026-03-02T10:00:00',
  '2026-02-30T10:00:00Z',
  '2026-12-31T23:59:60Z',
  '2026-03-02T24:00:00Z',
  '2026-03-02T10:00:00+24:00',
  '9999-12-31T23:59:59-23:59',
  'now',
];
const wrongIntegers = ['0', '-1', '"1h"', '"600"', '1e400', '1.5', '2147483648', '9007199254740993', 'true'];

/** Returns a value of each JSON type that `value` does not have. */
function otherTypes(value: unknown): unknown[] {
  const others: unknown[] = [5, 'x', true, [], {}, null];
  const kind = (one: unknown): string =>
    Array.isArray(one) ? 'list' : one === null ? 'null' : typeof one === 'string' ? 'text' : typeof one;
  return others.filter((other) => kind(other) !== kind(value));
}

/** Returns the names of the body's fields whose schema in the contract `fits`, including fields that the example does not have. */
function fieldsOf(details: OperationDetails, fits: (schema: Schema) => boolean): string[] {
  return Object.entries(details.body?.schema.properties ?? {})
    .filter(([, schema]) => fits(resolve(contract, schema)))
    .map(([name]) => name);
}

describe.each(cases)('the body of $id', ({ details }) => {
  const example = details.body?.example ?? {};
  const invalid = (what: string, body: unknown) =>
    expectRefusal(details, { what, body, code: 'invalid-request' });
  const all = (refusals: Promise<void>[]) => Promise.all(refusals);

  it('is refused over 256 kB, with or without a Content-Length', async () => {
    const body = JSON.stringify({ ...example, x: 'x'.repeat(maxBodyBytes) });
    const refusal = { code: 'content-too-large', body };
    await expectRefusal(details, { ...refusal, what: 'with a length' });
    const headers = { 'Transfer-Encoding': 'chunked' };
    await expectRefusal(details, { ...refusal, what: 'without a length', headers });
  });

  it('is refused unless it is application/json', async () => {
    const types = ['text/plain', 'multipart/form-data; boundary=x', 'application/x-www-form-urlencoded'];
    for (const type of [...types, 'application/jsonp', 'application/json; charset=latin1', '*/*']) {
      const headers = { 'Content-Type': type };
      await expectRefusal(details, { what: type, code: 'unsupported-media-type', headers, body: example });
    }
    const withoutType = { ...exampleRequest(details), headers: credentialFor(details, agentToken) };
    expect(await send(broker, withoutType)).toMatchObject({ status: 415 });
  });

  it('may be absent only if the contract says that it is optional', async () => {
    const { method, path } = exampleRequest(details);
    const lines = Object.entries({ ...credentialFor(details, agentToken), Host: 'a', Connection: 'close' });
    const head = [`${method} ${path} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`)];
    for (const more of [[], ['Content-Length: 0'], ['Content-Type: application/json']]) {
      const answer = await sendRaw(broker, [...head, ...more, '', ''].join('\r\n'));
      if (details.entry.body === 'optional') expect(answer).not.toMatch(/^HTTP\/1.1 (400|415|5..) /);
      else {
        expect(answer).toMatch(/^HTTP\/1.1 400 /);
        expect(answer).toContain('the request must have a body');
      }
    }
  });

  it('is refused if it is not a JSON object, has an unknown field, or is nested too deeply', async () => {
    for (const [what, body] of hostile) await invalid(what, body);
    await invalid('an unknown field in addition to the example', { ...example, unknown: 1 });
  });

  it('is refused if a value has another type, at any depth', async () => {
    const wrong = pathsIn(example).flatMap((path) =>
      otherTypes(valueAt(example, path)).map((value) => ({ path, value })),
    );
    await all(wrong.map(({ path, value }) => invalid(path.join('.'), replaced(example, path, value))));
    const typed = fieldsOf(details, ({ type }) => type !== undefined && type !== 'object');
    await all(typed.map((name) => invalid(name, { ...example, [name]: {} })));
  });

  it('is refused if a string has a NUL, a control character or a lone surrogate', async () => {
    const texts = pathsIn(example).filter((path) => typeof valueAt(example, path) === 'string');
    const bodies = texts.flatMap((path) => forbiddenTexts.map((value) => replaced(example, path, value)));
    await all(bodies.map((body) => invalid(JSON.stringify(body), body)));
  });

  it('is refused if a number is not a valid duration or version', async () => {
    const names = fieldsOf(details, ({ type }) => type === 'integer');
    const raw = names.flatMap((name) =>
      wrongIntegers.map((value) => JSON.stringify({ ...example, [name]: '@' }).replace('"@"', value)),
    );
    await all(raw.map((body) => invalid(body, body)));
  });

  it('is refused if a time is not a valid date', async () => {
    const names = fieldsOf(details, ({ format }) => format === 'date-time');
    const bodies = names.flatMap((name) => wrongInstants.map((value) => ({ ...example, [name]: value })));
    await all(bodies.map((body) => invalid(JSON.stringify(body), body)));
  });
});

describe('a body', () => {
  it('may have line breaks in texts for people, and is validated up to 256 kB and 32 levels', async () => {
    const details = cases.find(({ id }) => id === 'denyGrant')?.details;
    if (details === undefined) throw new Error('the contract has no denyGrant');
    expect(await attempt(details, { body: { reason: 'first\n\tsecond' } })).toMatchObject({ status: 404 });
    const body = JSON.stringify({ reason: 'r' }).padEnd(maxBodyBytes, ' ');
    expect(await attempt(details, { body })).toMatchObject({ status: 404 });
    const deep = await attempt(details, { body: nested(32) });
    expect(deep.json.detail).toMatch(/reason/);
  });
});
