import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { isRouted } from '../../../src/http/contract.ts';
import { type OperationDetails, pathsIn, replaced, valueAt } from '../../support/contract-requests.ts';
import type { WireRequest } from '../../support/http.ts';

/** A valid request of an operation of the contract. The functions below make requests from it that must be refused. */
export type Good = WireRequest & { headers: Record<string, string> };
type Garbage = fc.Arbitrary<WireRequest>;

function parsesToObject(body: Uint8Array | string): boolean {
  try {
    const value: unknown = JSON.parse(Buffer.from(body as string).toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((array) => Buffer.from(array));
const noObject = fc.oneof(
  bytes,
  fc.string({ unit: 'binary', minLength: 1, maxLength: 100 }),
  fc.json().filter((text) => text !== ''),
);
const dirtyText = fc.constantFrom('\u0000', '\u0007', '\u001b', '\u007f', '\ud800', '\udfff');
const brokenPercent = fc.oneof(
  fc.constantFrom('%', '%4', '%zz', '%00', '%1b', '%7f', '%ed%a0%80', '%c3', '%f5%80%80%80'),
  // A byte that is valid in UTF-8 only after another one.
  fc.integer({ min: 0x80, max: 0xbf }).map((byte) => `%${byte.toString(16)}`),
);
const tokens = fc.stringMatching(/^[a-z]{1,8}$/);
const mediaTypes = fc.oneof(
  fc.constantFrom(
    'text/plain',
    'text/json',
    'application/jsonp',
    'multipart/form-data; boundary=x',
    '*/*',
    '',
  ),
  fc.tuple(tokens, tokens).map(([type, subtype]) => `x-${type}/${subtype}`),
);
const encodedBodies = fc.oneof(
  fc.tuple(fc.constantFrom('gzip', 'deflate', 'br'), bytes),
  // This body decompresses to a thousand times its size.
  fc.constant(['gzip', gzipSync(Buffer.alloc(2_000_000, ' '))] as const),
);

/** Returns the example with an invalid character in one of its strings. */
function soiled(example: object, texts: (string | number)[][]): fc.Arbitrary<string> {
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  return fc.tuple(fc.constantFrom(...texts), share, dirtyText).map(([path, where, dirt]) => {
    const text = String(valueAt(example, path));
    const at = Math.floor(where * text.length);
    return JSON.stringify(replaced(example, path, `${text.slice(0, at)}${dirt}${text.slice(at)}`));
  });
}

function jsonGarbage(good: Good, details: OperationDetails): Garbage[] {
  const example = details.body?.example ?? {};
  const known = new Set(Object.keys(details.body?.schema.properties ?? {}));
  const texts = pathsIn(example).filter((path) => typeof valueAt(example, path) === 'string');
  const whole = JSON.stringify(example);
  const withBody = (body: string | Buffer): WireRequest => ({ ...good, body });
  const unknownField = fc
    .tuple(
      fc.string().filter((name) => !known.has(name)),
      fc.jsonValue(),
    )
    .map(([name, value]) =>
      withBody(JSON.stringify(Object.fromEntries([...Object.entries(example), [name, value]]))),
    );
  return [
    noObject.filter((body) => !parsesToObject(body)).map(withBody),
    unknownField,
    ...(texts.length === 0 ? [] : [soiled(example, texts).map(withBody)]),
    fc.integer({ min: 1, max: whole.length - 1 }).map((end) => withBody(whole.slice(0, end))),
    fc
      .integer({ min: 33, max: 5_000 })
      .map((levels) => withBody(`{"x":${'['.repeat(levels)}${']'.repeat(levels)}}`)),
    fc.integer({ min: 256 * 1024, max: 400_000 }).map((size) => withBody(whole.padEnd(size + 1, ' '))),
    mediaTypes.map((type) => ({ ...good, headers: { ...good.headers, 'Content-Type': type } })),
    ...(details.entry.body === 'required' ? [fc.constant({ ...good, body: undefined })] : []),
    encodedBodies.map(([encoding, body]) => ({
      ...good,
      headers: { ...good.headers, 'Content-Encoding': encoding },
      body,
    })),
  ];
}

/** Makes requests with invalid queries and paths, for operations that Express routes. */
function targetGarbage(good: Good): Garbage[] {
  const inQuery = fc.oneof(
    brokenPercent.map((broken) => `x=${broken}`),
    brokenPercent.map((broken) => `${broken}=1`),
    fc.constantFrom('__proto__=1', 'constructor=1', 'x=1&x=2', '='),
    tokens.map((name) => `x_${name}=1`),
  );
  return [
    brokenPercent.map((broken) => ({ ...good, path: `${good.path}${broken}` })),
    inQuery.map((query) => ({ ...good, path: `${good.path}?${query}` })),
  ];
}

function formGarbage(good: Good): Garbage[] {
  const whole = String(good.body);
  const withBody = (body: string | Buffer): WireRequest => ({ ...good, body });
  const [name = ''] = whole.split('=');
  return [
    bytes.map(withBody),
    brokenPercent.map((broken) => withBody(`${whole}&x=${broken}`)),
    brokenPercent.map((broken) => withBody(`${broken}=x&${whole}`)),
    tokens.map((value) => withBody(`${whole}&${name}=${value}`)),
    fc.integer({ min: 16_385, max: 40_000 }).map((size) => withBody(`${whole}&x=`.padEnd(size, 'x'))),
    fc.integer({ min: 51, max: 2_000 }).map((count) => withBody(`${whole}${'&x'.repeat(count)}`)),
    mediaTypes.map((type) => ({ ...good, headers: { ...good.headers, 'Content-Type': type } })),
  ];
}

/** Makes requests with one fault each: in the target, the body or the headers of the body. */
export function garbageFor(good: Good, details: OperationDetails): Garbage {
  if (!isRouted(details.entry)) return fc.oneof(...formGarbage(good));
  const aboutBody = details.body === undefined ? [] : jsonGarbage(good, details);
  return fc.oneof(...targetGarbage(good), ...aboutBody);
}

/** Returns the text of `good` as it is sent, with additional header lines. */
function toText(good: Good, ...lines: string[]): string {
  const body = String(good.body ?? '');
  const headers = Object.entries(good.headers).map(([name, value]) => `${name}: ${value}`);
  const own = ['Host: a', 'Connection: close', `Content-Length: ${Buffer.byteLength(body)}`];
  return [`${good.method} ${good.path} HTTP/1.1`, ...own, ...headers, ...lines, '', body].join('\r\n');
}

/** Makes incomplete requests that would change something if they were complete. */
export function unframed(good: Good): fc.Arbitrary<string> {
  const whole = toText(good);
  const badLines = fc.oneof(
    fc.constantFrom(
      'Content-Length: 5',
      'Content-Length: -1',
      'Content-Length: 1e3',
      'Transfer-Encoding: chunked',
      'Transfer-Encoding: gzip, chunked',
      'no colon',
      ': no name',
      'a b: c',
      'X-Nul: a\u0000b',
      'Expect: the-unexpected',
      `X-Long: ${'x'.repeat(20_000)}`,
    ),
    // The limit of 16 kB counts name, value and 16 bytes per line.
    fc.integer({ min: 1_100, max: 3_000 }).map((count) => 'X-Many: 1234567890\r\n'.repeat(count).trimEnd()),
  );
  const chunks = fc.constantFrom('zz\r\n', '-1\r\n', 'ffffffffffffffffff\r\n', '5\r\nabc');
  return fc.oneof(
    fc.integer({ min: 1, max: whole.length - 1 }).map((end) => whole.slice(0, end)),
    badLines.map((line) => toText(good, line)),
    chunks.map(
      (chunk) =>
        `${whole.slice(0, whole.indexOf('Content-Length'))}Transfer-Encoding: chunked\r\n\r\n${chunk}`,
    ),
    fc
      .constantFrom('GET', 'GET /', 'GET / HTTP/9.9', 'NONE / HTTP/1.1', ' ', '\u0000\u0000')
      .map((line) => `${line}\r\n\r\n`),
    bytes.map((noise) => `${noise.toString('latin1')}\r\n\r\n`),
  );
}
