import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import { parseForm } from '../../src/http/form-encoding.ts';
import { isCleanText } from '../../src/platform/text.ts';
import { codeThrown } from '../oauth/refusals.ts';

/** Bodies that are nearly forms, which a fuzzer is unlikely to find by chance. */
const nearlyForm = fc
  .array(
    fc.oneof(
      fc.constantFrom('&', '=', '+', '%', '%20', '%0', '%00', '%zz', '%C3%A9', '%ff', '%ED%A0%80', 'a', 'b'),
      fc.string({ unit: 'binary', maxLength: 3 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

/** Reads the form as other form parsers do, which do not know our refusals. */
function entriesOf(body: string): [string, string][] {
  return [...new URLSearchParams(`?${body}`)];
}

describe('a form', () => {
  it('is read as every other parser reads it, or refused; no other exception is thrown', () => {
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

  it('keeps every parameter of any encoder, and counts an empty one as absent', () => {
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

  it('never has a parameter twice, in any encoding, even if one of them is empty', () => {
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

  it('may have empty fields, which are ignored', () => {
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
