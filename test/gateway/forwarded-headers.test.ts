import { describe, expect, it } from 'vitest';
import {
  onlyValue,
  toAgentHeaders,
  toUpstreamHeaders,
  valuesOf,
} from '../../src/gateway/forwarded-headers.ts';

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
    ['X-Forwarded', 'for=10.0.0.1'],
    ['X-Client-IP', '10.0.0.1'],
    ['True-Client-IP', '10.0.0.1'],
    ['X-Cluster-Client-IP', '10.0.0.1'],
    ['CF-Connecting-IP', '10.0.0.1'],
    ['Client-Cert', ':YQ==:'],
    ['X-Client-Cert', 'a'],
    ['Remote-User', 'root'],
    ['X-Remote-User', 'root'],
    ['X-HTTP-Method', 'DELETE'],
    ['X-HTTP-Method-Override', 'DELETE'],
    ['X-Method-Override', 'DELETE'],
    ['X-Original-Method', 'DELETE'],
    ['X-Original-URL', '/admin'],
    ['X-Original-URI', '/admin'],
    ['X-Rewrite-URL', '/admin'],
    ['Range', 'bytes=0-5'],
    ['If-Range', '"a"'],
    ['X_Forwarded_For', '10.0.0.1'],
    ['X-Forwarded_Host', 'evil'],
    ['X_HTTP_METHOD_OVERRIDE', 'DELETE'],
    ['Content_Length', '3'],
    ['Transfer_Encoding', 'chunked'],
    ['x_api_key', 'mine'],
  ])('do not include %s of the agent', (name, value) => {
    expect(toUpstreamHeaders([name, value, 'Accept', '*/*'], undefined)).toEqual(['Accept', '*/*', ...own]);
  });

  it('include neither a header that Connection names, nor one of the agent with the name of the credential header', () => {
    const named = [
      'Connection',
      'close, X-Internal,x_other',
      'x-internal',
      '1',
      'X_Internal',
      '1',
      'X-Other',
      '1',
    ];
    const sent = [...named, 'Private-Token', 'mine', 'Private_Token', 'mine'];
    expect(toUpstreamHeaders(sent, ['PRIVATE-TOKEN', 'upstream'])).toEqual([
      ...own,
      'PRIVATE-TOKEN',
      'upstream',
    ]);
    expect(toUpstreamHeaders(['private-token', 'mine'], ['private_token', 'upstream'])).toEqual([
      ...own,
      'private_token',
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
      ['hallpass_call_id', 'cal_forged'],
      ['Set_Cookie', 'a=b'],
    ].flat();
    expect(toAgentHeaders([...dropped, ...passed])).toEqual(passed);
  });

  it.each([
    'X-Accel-Redirect',
    'X-Accel-Buffering',
    'X-Sendfile',
    'NEL',
    'Report-To',
    'Reporting-Endpoints',
    'Accept-CH',
    'Critical-CH',
    'Public-Key-Pins',
    'Public-Key-Pins-Report-Only',
    'Origin-Agent-Cluster',
    'Service-Worker-Allowed',
    'DPoP-Nonce',
    'RateLimit',
    'RateLimit-Policy',
    'Refresh',
  ])('do not include %s, which would command a proxy or a browser, or speak for the gateway', (name) => {
    expect(toAgentHeaders([name, 'a', 'ETag', '"a"'])).toEqual(['ETag', '"a"']);
  });
});

describe('the only value of a header', () => {
  it('is undefined if the header is absent or has two different values', () => {
    expect(onlyValue(['Content-Length', '3', 'content-length', '3'], 'content-length')).toBe('3');
    expect(onlyValue(['Content-Length', '3', 'content-length', '4'], 'content-length')).toBeUndefined();
    expect(onlyValue([], 'content-length')).toBeUndefined();
  });
});

describe('the values of a header that is a list', () => {
  it('are those of all its lines', () => {
    const raw = ['Content-Encoding', 'GZIP , identity', 'X-A', 'b', 'content-encoding', ' br,,'];
    expect(valuesOf(raw, 'content-encoding')).toEqual(['gzip', 'identity', 'br']);
    expect(valuesOf(raw, 'transfer-encoding')).toEqual([]);
  });
});
