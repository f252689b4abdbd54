import { describe, expect, it } from 'vitest';
import {
  applyTerms,
  baseUrlProblem,
  caProblem,
  credentialProblem,
  defaultTimeouts,
  headerNameProblem,
  secretProblem,
  sendsSecretElsewhere,
  slugProblem,
  termsProblem,
  toBaseUrl,
  type UpstreamSettings,
} from '../../../src/resources/upstreams/upstream.ts';
import { testCertificate } from '../../support/certificate.ts';

const own = ['https://hallpass.test', 'https://gateway.hallpass.test'];

describe('a slug', () => {
  it.each(['a', '0', 'openai', 'git-hub', 'a--', 'a'.repeat(63)])('may be %s', (slug) => {
    expect(slugProblem(slug)).toBeUndefined();
  });

  it.each([
    '',
    '-a',
    'A',
    'a_b',
    'a.b',
    'a/b',
    'a b',
    'a\n',
    'é',
    '%61',
    '..',
    'a'.repeat(64),
  ])('may not be %j', (slug) => {
    expect(slugProblem(slug)).toBe(
      'slug must be 1 to 63 characters of a-z, 0-9 and -, and must not begin with -',
    );
  });

  it.each(['livez', 'readyz', 'healthz', 'metrics'])('may not be a path of the gateway: %s', (slug) => {
    expect(slugProblem(slug)).toBe(`slug ${slug} is reserved`);
  });
});

describe('a base URL', () => {
  it.each([
    'https://api.vendor.example',
    'https://api.vendor.example/',
    'https://api.vendor.example/v1',
    'https://api.vendor.example/v1/',
    'https://api.vendor.example:8443/a/b-c~d',
    'https://api.vendor.example/a%20b',
    'https://[2001:db8::1]/v1',
    'http://10.0.0.7:11434',
    'http://models.internal/v1',
  ])('may be %s', (text) => {
    expect(baseUrlProblem(text, own)).toBeUndefined();
  });

  it.each([
    ['', 'base_url must be an absolute https or http URL'],
    ['/v1', 'base_url must be an absolute https or http URL'],
    ['api.vendor.example', 'base_url must be an absolute https or http URL'],
    ['ftp://api.vendor.example', 'base_url must be an absolute https or http URL'],
    ['file:///etc/passwd', 'base_url must be an absolute https or http URL'],
    ['https://', 'base_url must be an absolute https or http URL'],
    [' https://api.vendor.example', 'base_url must be an absolute https or http URL'],
    ['https://user@api.vendor.example', 'base_url must not have userinfo'],
    ['https://:secret@api.vendor.example', 'base_url must not have userinfo'],
    ['https://api.vendor.example/v1?a=b', 'base_url must not have a query'],
    ['https://api.vendor.example/v1?', 'base_url must not have a query'],
    ['https://api.vendor.example/v1#a', 'base_url must not have a fragment'],
    ['https://api.vendor.example/v1#', 'base_url must not have a fragment'],
    ['HTTPS://api.vendor.example', 'base_url must be in its normal form: https://api.vendor.example'],
    ['https://API.vendor.example', 'base_url must be in its normal form: https://api.vendor.example'],
    ['https://api.vendor.example:443', 'base_url must be in its normal form: https://api.vendor.example'],
    ['https://a.example/x/../v1', 'base_url must be in its normal form: https://a.example/v1'],
    ['https://a.example/x/%2e%2E/v1', 'base_url must be in its normal form: https://a.example/v1'],
    ['https://a.example/./v1', 'base_url must be in its normal form: https://a.example/v1'],
    ['https://a.example\\v1', 'base_url must be in its normal form: https://a.example/v1'],
    ['https://@a.example/v1', 'base_url must be in its normal form: https://a.example/v1'],
    ['http://0x7f.1/', 'base_url must be in its normal form: http://127.0.0.1'],
    ['https://a.example/v\u00e9', 'base_url must be in its normal form: https://a.example/v%C3%A9'],
    ['https://a.example/v1\n', 'base_url must be in its normal form: https://a.example/v1'],
    ['https://a.example/a%2Fb', 'base_url must not have an encoded slash'],
    ['https://a.example/a%5cb', 'base_url must not have an encoded slash'],
    ['https://a.example/a//b', 'base_url must not have an empty segment'],
    ['https://a.example//', 'base_url must not have an empty segment'],
    ['https://a.example/a;b', 'base_url has a character that the path of a URL must not have'],
    ['https://a.example/a|b', 'base_url has a character that the path of a URL must not have'],
    ['https://a.example/%zz', 'base_url has a character that the path of a URL must not have'],
    ['https://hallpass.test/v1', 'base_url must not be at the broker or its gateway'],
    ['https://gateway.hallpass.test', 'base_url must not be at the broker or its gateway'],
  ])('may not be %j: %s', (text, problem) => {
    expect(baseUrlProblem(text, own)).toBe(problem);
  });

  it('is stored without a trailing slash', () => {
    expect(toBaseUrl('https://a.example/')).toBe('https://a.example');
    expect(toBaseUrl('https://a.example/v1/')).toBe('https://a.example/v1');
    expect(toBaseUrl('https://a.example/v1')).toBe('https://a.example/v1');
  });
});

describe('the header of a credential', () => {
  it.each([
    'x-api-key',
    'X-Api-Key',
    'api-key',
    'PRIVATE-TOKEN',
    'x-goog-api-key',
    "!#$%&'*+-.^_`|~",
  ])('may be %s', (name) => {
    expect(headerNameProblem(name)).toBeUndefined();
  });

  it.each(['', 'a b', 'a:b', ':path', 'a\r\nb', 'é', 'a'.repeat(101)])('is a token, so not %j', (name) => {
    expect(headerNameProblem(name)).toBe(
      'the name of the header must be a token (RFC 9110), 1 to 100 characters',
    );
  });

  it.each(['authorization', 'Authorization'])('is not %s', (name) => {
    expect(headerNameProblem(name)).toContain('bearer and basic');
  });

  it.each([
    ...['Connection', 'keep-alive', 'Proxy-Authenticate', 'proxy-authorization', 'proxy-connection', 'TE'],
    ...['trailer', 'Transfer-Encoding', 'upgrade', 'expect', 'Host', 'Content-Length', 'Cookie', 'DPoP'],
    ...[
      'Forwarded',
      'X-Forwarded-For',
      'x-forwarded-anything',
      'X-Forwarded',
      'X_Forwarded_For',
      'content_length',
    ],
    ...['Accept-Encoding', 'Via', 'X-Real-IP', 'X_Real_IP', 'X-Client-IP', 'Remote-User', 'Client-Cert'],
    ...['X-HTTP-Method-Override', 'X-Original-URL', 'Range', 'If-Range'],
  ])('may not be one of the connection or of the gateway: %s', (name) => {
    expect(headerNameProblem(name)).toBe(`the header ${name} cannot hold a credential`);
  });
});

describe('a secret', () => {
  it.each(['a', 'sk-0123', 'with a space', '!"#~', 'a'.repeat(8192)])('may be %s', (secret) => {
    expect(secretProblem(secret)).toBeUndefined();
  });

  it.each([
    ['', 'secret must be 1 to 8192 characters'],
    ['a'.repeat(8193), 'secret must be 1 to 8192 characters'],
    ['a\r\nx: y', 'secret must be printable ASCII characters'],
    ['a\n', 'secret must be printable ASCII characters'],
    ['a\0', 'secret must be printable ASCII characters'],
    ['a\tb', 'secret must be printable ASCII characters'],
    ['caf\u00e9', 'secret must be printable ASCII characters'],
    [' a', 'secret must not begin or end with a space'],
    ['a ', 'secret must not begin or end with a space'],
  ])('may not be %j', (secret, problem) => {
    expect(secretProblem(secret)).toBe(problem);
  });
});

describe('a credential', () => {
  const secret = 'key-of-the-vendor';

  it.each([
    { type: 'bearer', secret },
    { type: 'header', name: 'x-api-key', secret },
    { type: 'basic', username: 'hallpass', secret },
    { type: 'basic', username: '', secret },
    { type: 'none' },
  ] as const)('may be $type', (credential) => {
    expect(credentialProblem(credential)).toBeUndefined();
  });

  it.each([
    [{ type: 'bearer' }, 'a credential of type bearer needs secret'],
    [{ type: 'bearer', name: 'x-key', secret }, 'a credential of type bearer has no name'],
    [{ type: 'bearer', username: 'a', secret }, 'a credential of type bearer has no username'],
    [{ type: 'header', secret }, 'a credential of type header needs name'],
    [{ type: 'header', name: 'x-key' }, 'a credential of type header needs secret'],
    [{ type: 'header', name: 'x-key', username: 'a', secret }, 'a credential of type header has no username'],
    [{ type: 'header', name: 'host', secret }, 'the header host cannot hold a credential'],
    [{ type: 'basic', secret }, 'a credential of type basic needs username'],
    [{ type: 'basic', username: 'a' }, 'a credential of type basic needs secret'],
    [{ type: 'basic', username: 'a', name: 'b', secret }, 'a credential of type basic has no name'],
    [{ type: 'none', secret }, 'a credential of type none has no secret'],
    [{ type: 'none', name: 'x-key' }, 'a credential of type none has no name'],
    [{ type: 'bearer', secret: 'a\nb' }, 'secret must be printable ASCII characters'],
  ] as const)('may not be %j: %s', (credential, problem) => {
    expect(credentialProblem(credential)).toBe(problem);
  });

  it.each(['a:b', 'a\nb', 'é', 'a'.repeat(257)])('may not have the username %j', (username) => {
    expect(credentialProblem({ type: 'basic', username, secret })).toBe(
      'username must be at most 256 printable ASCII characters other than a colon',
    );
  });

  it('is refused without showing its secret', () => {
    for (const bad of ['a\nhidden', ' hidden', `hidden${'a'.repeat(8192)}`]) {
      expect(credentialProblem({ type: 'bearer', secret: bad })).not.toContain('hidden');
    }
  });
});

describe('the certificates to trust', () => {
  it('may be one or more', () => {
    expect(caProblem(testCertificate)).toBeUndefined();
    expect(caProblem(`${testCertificate}\n${testCertificate}`)).toBeUndefined();
  });

  it.each([
    'a',
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----',
    testCertificate.replaceAll('CERTIFICATE', 'PRIVATE KEY'),
    `${testCertificate}\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----`,
  ])('may not be anything else', (ca) => {
    expect(caProblem(ca)).toBe('tls.ca must be one or more certificates (PEM)');
  });
});

describe('the terms of an upstream', () => {
  const before: UpstreamSettings = {
    baseUrl: 'https://a.example/v1',
    credential: { type: 'bearer' },
    ca: null,
    ...defaultTimeouts,
  };

  it('are checked member by member', () => {
    expect(termsProblem({}, own)).toBeUndefined();
    expect(termsProblem({ baseUrl: 'https://a.example/?' }, own)).toBe('base_url must not have a query');
    expect(termsProblem({ credential: { type: 'bearer' } }, own)).toContain('needs secret');
    expect(termsProblem({ tls: { ca: 'a' } }, own)).toContain('tls.ca');
    expect(termsProblem({ tls: {} }, own)).toBeUndefined();
  });

  it('replace the members that are given, and no others', () => {
    expect(applyTerms(before, {})).toEqual(before);
    expect(applyTerms(before, { baseUrl: 'https://b.example/' })).toEqual({
      ...before,
      baseUrl: 'https://b.example',
    });
    const credential = { type: 'header', name: 'x-key', secret: 'key' } as const;
    expect(applyTerms(before, { credential }).credential).toEqual({ type: 'header', name: 'x-key' });
    const withCa = applyTerms(before, { tls: { ca: testCertificate } });
    expect(withCa.ca).toBe(testCertificate);
    expect(applyTerms(withCa, {}).ca).toBe(testCertificate);
    expect(applyTerms(withCa, { tls: {} }).ca).toBeNull();
    const slow = applyTerms(before, { timeouts: { idleSeconds: 300 } });
    expect(slow).toEqual({ ...before, idleSeconds: 300 });
    expect(applyTerms(slow, { timeouts: { connectSeconds: 2 } })).toEqual({ ...before, connectSeconds: 2 });
  });

  it('send the stored secret to no other server', () => {
    const other = { baseUrl: 'https://b.example' };
    expect(sendsSecretElsewhere(before, other)).toBe(true);
    expect(sendsSecretElsewhere(before, { baseUrl: 'https://a.example/v2' })).toBe(true);
    expect(sendsSecretElsewhere(before, { tls: { ca: testCertificate } })).toBe(true);
    const credential = { type: 'bearer', secret: 'key' } as const;
    expect(sendsSecretElsewhere(before, { ...other, credential })).toBe(false);
    expect(sendsSecretElsewhere(before, { ...other, credential: { type: 'none' } })).toBe(false);
    expect(sendsSecretElsewhere({ ...before, credential: { type: 'none' } }, other)).toBe(false);
    expect(sendsSecretElsewhere(before, { baseUrl: `${before.baseUrl}/`, timeouts: {}, tls: {} })).toBe(
      false,
    );
  });
});
