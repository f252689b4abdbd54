import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readClientCredentials } from '../../src/client-auth/client-credentials.ts';
import { isCleanText } from '../../src/platform/text.ts';
import { codeThrown } from '../oauth/refusals.ts';

const read = (authorization: string[], form: Record<string, string> = {}) => {
  const rawHeaders = authorization.flatMap((value) => ['Authorization', value]);
  const request = { rawHeaders } as unknown as IncomingMessage;
  return readClientCredentials(request, new Map(Object.entries(form)));
};
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const basic = (id: string, secret: string): string => `Basic ${base64(`${id}:${secret}`)}`;
/** Encodes as RFC 6749 appendix B requires, by an implementation that is not ours. */
const formEncode = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1);

describe('client_secret_basic', () => {
  it('is form-decoded in both halves, so that any id and secret can be sent', () => {
    const half = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
      .filter((text) => isCleanText(text));
    fc.assert(
      fc.property(half, half, (clientId, secret) => {
        const header = basic(formEncode(clientId), formEncode(secret));
        expect(read([header])).toEqual({ clientId, secret, method: 'client_secret_basic' });
      }),
    );
  });

  it('has its secret after the first colon, and a scheme in any case', () => {
    expect(read([`bAsIc  ${base64('a:b:c')}`])).toMatchObject({ clientId: 'a', secret: 'b:c' });
    expect(read([basic('a', '')])).toMatchObject({ clientId: 'a', secret: '' });
  });

  it('may come with the same client_id in the body, which is not a second method', () => {
    expect(read([basic('agt_1', 's')], { client_id: 'agt_1' })).toMatchObject({ secret: 's' });
  });

  it('is invalid_request with another client_id in the body', () => {
    expect(codeThrown(() => read([basic('agt_1', 's')], { client_id: 'agt_2' }))).toBe('invalid-request');
  });

  it.each([
    ['Bearer x'],
    ['Basic'],
    ['Basic '],
    ['Basic !!!!'],
    [`Basic ${base64('no colon')}`],
    [`Basic ${base64(':no id')}`],
    [`Basic ${base64('%zz:secret')}`],
    [`Basic ${base64('id:%')}`],
    [`Basic ${base64('agt_%00:secret')}`],
    [`Basic ${base64('agt_1:a%0a')}`],
    [`Basic ${base64('agt_\u0000:secret')}`],
    [`Basic ${base64(`a:${'s'.repeat(1024)}`)}`],
    [`${basic('a', 'b')}, ${basic('a', 'b')}`],
    [`DPoP ${base64('a:b')}`],
  ])('is invalid_client where it says nothing that a client could be known by: %j', (header) => {
    expect(codeThrown(() => read([header]))).toBe('invalid-client');
  });
});

describe('client authentication', () => {
  it('may be in the body', () => {
    const form = { client_id: 'agt_1', client_secret: 's' };
    expect(read([], form)).toEqual({ clientId: 'agt_1', secret: 's', method: 'client_secret_post' });
  });

  it.each([
    [{}],
    [{ client_id: 'agt_1' }],
    [{ client_secret: 's' }],
    [{ client_id: 'agt_1', client_assertion: 'x', client_assertion_type: 'y' }],
  ])('is invalid_client where there is none that we know: %j', (form) => {
    expect(codeThrown(() => read([], form as Record<string, string>))).toBe('invalid-client');
  });

  it('is invalid_request with two methods at once', () => {
    const header = basic('agt_1', 's');
    const twice = [
      () => read([header], { client_id: 'agt_1', client_secret: 's' }),
      () => read([header], { client_secret: 's' }),
      () => read([header], { client_assertion: 'x' }),
      () => read([header], { client_assertion_type: 'x' }),
      () => read([], { client_id: 'agt_1', client_secret: 's', client_assertion: 'x' }),
      () => read(['Bearer x'], { client_id: 'agt_1', client_secret: 's' }),
      () => read([header, header]),
    ];
    for (const attempt of twice) expect(codeThrown(attempt)).toBe('invalid-request');
  });
});
