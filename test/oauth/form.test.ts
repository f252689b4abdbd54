import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import { parseForm, readFormBody } from '../../src/oauth/form.ts';
import { isCleanText } from '../../src/platform/text.ts';
import { codeOf, codeThrown } from './refusals.ts';

const formType = 'application/x-www-form-urlencoded';

/** Bodies that are nearly forms: what a fuzzer must not be left to find by chance. */
const nearlyForm = fc
  .array(
    fc.oneof(
      fc.constantFrom('&', '=', '+', '%', '%20', '%0', '%00', '%zz', '%C3%A9', '%ff', '%ED%A0%80', 'a', 'b'),
      fc.string({ unit: 'binary', maxLength: 3 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

/** The same reading as of any other form parser, which knows nothing of our refusals. */
function entriesOf(body: string): [string, string][] {
  return [...new URLSearchParams(`?${body}`)];
}

describe('a form', () => {
  it('is read as every other parser reads it, or refused: nothing else is thrown', () => {
    fc.assert(
      fc.property(nearlyForm, (body) => {
        try {
          const form = parseForm(body);
          expect([...form]).toEqual(entriesOf(body).filter(([, value]) => value !== ''));
        } catch (error) {
          expect(error).toBeInstanceOf(BrokerError);
          expect(['invalid-request', 'invalid-target']).toContain((error as BrokerError).code);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('keeps every parameter that any encoder wrote, and counts an empty one as absent', () => {
    const special = fc.constantFrom('&', '=', '%', '+', ' ');
    const text = fc
      .string({ unit: fc.oneof(special, fc.string({ unit: 'grapheme', maxLength: 1 })) })
      .filter((value) => isCleanText(value));
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(text, text), { maxLength: 50, selector: ([name]) => name }),
        (fields) => {
          const form = parseForm(new URLSearchParams(fields).toString());
          expect([...form]).toEqual(fields.filter(([, value]) => value !== ''));
        },
      ),
    );
  });

  it('never has a parameter twice, however the second one is spelled, and also if either is empty', () => {
    const spell = (name: string, encoded: boolean[]): string =>
      [...name].map((c, i) => (encoded[i] === true ? `%${c.charCodeAt(0).toString(16)}` : c)).join('');
    const bits = fc.array(fc.boolean(), { minLength: 13, maxLength: 13 });
    const value = fc.constantFrom('', 'x', 'y');
    const name = fc.constantFrom('scope', 'resource', 'client_id', 'grant_type', 'unknown');
    fc.assert(
      fc.property(name, bits, bits, value, value, (name, one, other, first, second) => {
        const body = `${spell(name, one)}=${first}&a=b&${spell(name, other)}=${second}`;
        const code = name === 'resource' ? 'invalid-target' : 'invalid-request';
        expect(codeThrown(() => parseForm(body))).toBe(code);
      }),
    );
  });

  it('has at most 50 fields', () => {
    const fields = (count: number): string => Array.from({ length: count }, (_, i) => `p${i}=v`).join('&');
    expect(parseForm(fields(50)).size).toBe(50);
    expect(codeThrown(() => parseForm(fields(51)))).toBe('invalid-request');
    expect(codeThrown(() => parseForm('&'.repeat(16_000)))).toBe('invalid-request');
  });

  it('may have empty fields, which are nothing', () => {
    expect([...parseForm('')]).toEqual([]);
    expect([...parseForm('&&a=b&&&c=d&')]).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  it.each([
    'a=%',
    'a=%4',
    'a=%zz',
    '%=a',
    'a=%ff',
    'a=%ED%A0%80',
    'a=%00',
    'a=%0a',
    'a\u0000=b',
    'a=\u007f',
    'a=\ud800',
  ])('is refused with broken encoding, control characters or broken Unicode: %j', (body) =>
    expect(codeThrown(() => parseForm(body))).toBe('invalid-request'));
});

function requestOf(chunks: Buffer[], type: string | undefined): IncomingMessage {
  const headers = type === undefined ? {} : { 'content-type': type };
  return Object.assign(Readable.from(chunks), { headers }) as unknown as IncomingMessage;
}

describe('a form body', () => {
  it('is put together from its chunks, also where a character is cut in two', async () => {
    const bytes = Buffer.from('a=é€😀');
    const chunks = [...bytes].map((byte) => Buffer.of(byte));
    expect(await readFormBody(requestOf(chunks, formType))).toBe('a=é€😀');
    expect(await readFormBody(requestOf([], formType))).toBe('');
  });

  it('has at most 16,384 bytes, in however many chunks', async () => {
    const half = Buffer.alloc(8192, 'a');
    expect(await readFormBody(requestOf([half, half], formType))).toHaveLength(16_384);
    const over = [
      [half, half, Buffer.of(97)],
      [Buffer.alloc(16_385, 'a')],
      Array.from({ length: 9 }, () => half),
    ];
    for (const chunks of over) {
      expect(await codeOf(readFormBody(requestOf(chunks, formType)))).toBe('content-too-large');
    }
  });

  it.each([
    formType,
    `${formType};charset=utf-8`,
    `${formType} ; charset=UTF-8`,
    formType.toUpperCase(),
  ])('is read with the content type %j', async (type) =>
    expect(await readFormBody(requestOf([Buffer.from('a=b')], type))).toBe('a=b'));

  it.each([
    undefined,
    '',
    'application/json',
    'multipart/form-data; boundary=x',
    'text/plain',
    `${formType}x`,
    `x${formType}`,
    `text/plain;${formType}`,
  ])('is refused with the content type %j', async (type) => {
    expect(await codeOf(readFormBody(requestOf([Buffer.from('a=b')], type)))).toBe('unsupported-media-type');
  });

  it('that is cut off is the client’s fault', async () => {
    const cut = new Readable({ read() {} });
    const reading = readFormBody(
      Object.assign(cut, { headers: { 'content-type': formType } }) as unknown as IncomingMessage,
    );
    cut.push('grant_type=');
    cut.destroy(new Error('aborted'));
    expect(await codeOf(reading)).toBe('invalid-request');
  });
});
