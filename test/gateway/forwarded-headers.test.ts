import { describe, expect, it } from 'vitest';
import { onlyValue, toAgentHeaders, toUpstreamHeaders } from '../../src/gateway/forwarded-headers.ts';

const own = ['Accept-Encoding', 'identity'];

describe('the headers of a request for the upstream', () => {
  it('are those of the agent, in their order and spelling, with the credential of the resource', () => {
    const sent = ['Content-Type', 'application/json', 'anthropic-beta', 'a, b', 'X-Empty', ''];
    const credential = ['Authorization', 'Bearer upstream'] as const;
    expect(toUpstreamHeaders(sent, credential)).toEqual([...sent, ...own, ...credential]);
  });

  it.each([
    ['Authorization', 'Bearer mine'],
    ['X-Api-Key', 'mine'],
    ['api-key', 'mine'],
    ['x-goog-api-key', 'mine'],
    ['DPoP', 'proof'],
    ['Cookie', 'a=b'],
    ['Host', 'gateway'],
    ['Content-Length', '3'],
    ['Transfer-Encoding', 'chunked'],
    ['Connection', 'keep-alive'],
    ['Keep-Alive', 'timeout=5'],
    ['TE', 'trailers'],
    ['Trailer', 'X-Sum'],
    ['Upgrade', 'websocket'],
    ['Proxy-Authorization', 'Basic YTpi'],
    ['Expect', '100-continue'],
    ['Accept-Encoding', 'gzip'],
    ['Forwarded', 'for=10.0.0.1'],
    ['X-Forwarded-For', '10.0.0.1'],
    ['X-Forwarded-Host', 'evil'],
    ['X-Forwarded-Anything', 'evil'],
    ['X-Real-IP', '10.0.0.1'],
    ['Via', '1.1 proxy'],
  ])('do not have %s of the agent', (name, value) => {
    expect(toUpstreamHeaders([name, value, 'Accept', '*/*'], undefined)).toEqual(['Accept', '*/*', ...own]);
  });

  it('have neither a header that Connection names, nor the one that carries the credential', () => {
    const sent = ['Connection', 'close, X-Internal', 'x-internal', '1', 'Private-Token', 'mine'];
    expect(toUpstreamHeaders(sent, ['PRIVATE-TOKEN', 'upstream'])).toEqual([
      ...own,
      'PRIVATE-TOKEN',
      'upstream',
    ]);
  });
});

describe('the headers of a response for the agent', () => {
  it('are those of the upstream without what is for the gateway or for a whole origin', () => {
    const passed = ['Content-Type', 'text/event-stream', 'x-request-id', 'up-1', 'ETag', '"a"'];
    const dropped = [
      ['Set-Cookie', 'a=b'],
      ['WWW-Authenticate', 'Basic'],
      ['Transfer-Encoding', 'chunked'],
      ['Connection', 'keep-alive, X-Hop'],
      ['X-Hop', '1'],
      ['Content-Length', '3'],
      ['Strict-Transport-Security', 'max-age=1'],
      ['Alt-Svc', 'h3=":443"'],
      ['Clear-Site-Data', '"*"'],
      ['Hallpass-Call-Id', 'cal_forged'],
    ].flat();
    expect(toAgentHeaders([...dropped, ...passed])).toEqual(passed);
  });
});

describe('the only value of a header', () => {
  it('is undefined if the header is absent or has two values', () => {
    expect(onlyValue(['Content-Length', '3', 'content-length', '3'], 'content-length')).toBe('3');
    expect(onlyValue(['Content-Length', '3', 'content-length', '4'], 'content-length')).toBeUndefined();
    expect(onlyValue([], 'content-length')).toBeUndefined();
  });
});
