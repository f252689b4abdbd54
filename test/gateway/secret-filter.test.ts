import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSecretFilter, echoesOf, maskText } from '../../src/gateway/secret-filter.ts';

const secret = 'sk-upstream-0123456789/+=';
const forms = echoesOf([secret]);

/** Sends the parts through a filter, and returns what comes out after each of them and at the end. */
function filterParts(parts: readonly string[], all = forms): string[] {
  const filter = createSecretFilter(all);
  return [...parts.map((part) => filter.push(Buffer.from(part))), filter.end()].map(String);
}

describe('the filter of secrets', () => {
  it.each([
    ['as it is', secret],
    ['in Base64', Buffer.from(secret).toString('base64').replace(/=+$/, '')],
    ['in base64url', Buffer.from(secret).toString('base64url')],
    ['percent-encoded', encodeURIComponent(secret)],
    [
      'percent-encoded in lower case',
      encodeURIComponent(secret).replaceAll(/%../g, (text) => text.toLowerCase()),
    ],
    ['as JSON that escapes the slash', secret.replaceAll('/', '\\/')],
  ])('replaces a secret %s with as many asterisks', (_, form) => {
    expect(filterParts([`a ${form} b ${form}`]).join('')).toBe(
      `a ${'*'.repeat(form.length)} b ${'*'.repeat(form.length)}`,
    );
    expect(maskText(`Bearer ${form}`, forms)).toBe(`Bearer ${'*'.repeat(form.length)}`);
  });

  it('finds a secret wherever chunks divide it, and keeps back only what a secret could begin with', () => {
    const text = `data: {"key":"${secret}"}\n\ndata: [DONE]\n\n`;
    const expected = text.replace(secret, '*'.repeat(secret.length));
    for (let at = 0; at <= text.length; at += 1)
      expect(filterParts([text.slice(0, at), text.slice(at)]).join('')).toBe(expected);
    expect(filterParts([...text]).join('')).toBe(expected);
    expect(filterParts(['data: {"a":1}\n\n'])).toEqual(['data: {"a":1}\n\n', '']);
  });

  it('never lets a secret out and changes nothing else, for any text, secrets and chunks', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 8, maxLength: 12 });
    const parts = fc.array(
      fc.oneof(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 9 }), letters),
    );
    fc.assert(
      fc.property(fc.array(letters, { minLength: 1, maxLength: 3 }), parts, (secrets, chunks) => {
        const plain = secrets.map((text) => Buffer.from(text));
        const sent = chunks.join('');
        const received = filterParts(chunks, plain).join('');
        expect(received).toHaveLength(sent.length);
        for (const text of secrets) expect(received).not.toContain(text);
        for (const [n, character] of [...received].entries())
          if (character !== '*') expect(character).toBe(sent[n]);
      }),
    );
  });

  it('does not look for a secret that is shorter than 8 characters, nor copy chunks without one', () => {
    expect(echoesOf(['short'])).toHaveLength(0);
    const chunk = Buffer.from('nothing to hide');
    expect(createSecretFilter([]).push(chunk)).toBe(chunk);
  });
});
