import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, readConfig } from '../../src/config.ts';

const masterKey = randomBytes(32).toString('base64url');
const oldKeys = [randomBytes(32).toString('base64url'), randomBytes(32).toString('base64url')];
const adminKey = `hpa_${'0123456789abcdefghijABCDEFGHIJKLMNOPQRSTUVW'}`;
const production = {
  DATABASE_URL: 'postgres://hallpass:s3cret@db.internal/hallpass',
  HALLPASS_MASTER_KEY: masterKey,
  HALLPASS_PUBLIC_URL: 'https://hallpass.example',
};

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hallpass-config-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
function file(text: string): string {
  files += 1;
  const path = join(directory, `secret-${files}`);
  writeFileSync(path, text);
  return path;
}

function refusal(environment: Record<string, string | undefined>): string {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the configuration', () => {
  it('has a default for everything: without any setting the broker runs by itself', () => {
    expect(readConfig({})).toEqual({
      databaseUrl: undefined,
      databaseOwnerUrl: undefined,
      dataDirectory: resolve('.hallpass'),
      masterKey: undefined,
      oldMasterKeys: [],
      bootstrapAdminKey: undefined,
      issuer: undefined,
      role: 'all',
      host: '127.0.0.1',
      port: 8080,
      gatewayUrl: undefined,
      gatewayHost: '127.0.0.1',
      gatewayPort: 8081,
      metricsHost: '127.0.0.1',
      metricsPort: 9464,
      logLevel: 'info',
      preparedStatements: true,
      rateLimitPerSecond: 1000,
      shutdownDelaySeconds: 0,
      shutdownGraceSeconds: 2,
      shutdownSeconds: 30,
      trustedProxies: [],
      outboundAllow: [],
      targetAllow: [],
      targetPlaintext: [],
      dpopNonce: 'required',
    });
  });

  it('reads every variable', () => {
    const {
      masterKey: current,
      oldMasterKeys,
      ...rest
    } = readConfig({
      ...production,
      DATABASE_OWNER_URL: 'postgresql://owner@db.internal/hallpass',
      HALLPASS_BOOTSTRAP_ADMIN_KEY: adminKey,
      HALLPASS_DATA_DIR: '/var/lib/hallpass',
      HALLPASS_DPOP_NONCE: 'optional',
      HALLPASS_GATEWAY_HOST: '::',
      HALLPASS_GATEWAY_PORT: '8443',
      HALLPASS_GATEWAY_URL: 'https://gateway.hallpass.example',
      HALLPASS_HOST: '0.0.0.0',
      HALLPASS_LOG_LEVEL: 'debug',
      HALLPASS_MASTER_KEYS_OLD: `${oldKeys[0]}, ${oldKeys[1]},`,
      HALLPASS_METRICS_HOST: '::1',
      HALLPASS_METRICS_PORT: '9000',
      HALLPASS_OUTBOUND_ALLOW: '10.1.0.0/16',
      HALLPASS_PORT: '0',
      HALLPASS_PREPARED_STATEMENTS: 'off',
      HALLPASS_RATE_LIMIT: '25',
      HALLPASS_ROLE: 'worker',
      HALLPASS_SHUTDOWN_DELAY_SECONDS: '5',
      HALLPASS_SHUTDOWN_GRACE_SECONDS: '10',
      HALLPASS_SHUTDOWN_SECONDS: '600',
      HALLPASS_TARGET_ALLOW: '10.2.0.0/16',
      HALLPASS_TARGET_PLAINTEXT: '10.3.0.0/16',
      HALLPASS_TRUSTED_PROXIES: '10.0.0.0/8, fd00::/8',
    });
    expect(rest).toEqual({
      databaseUrl: production.DATABASE_URL,
      databaseOwnerUrl: 'postgresql://owner@db.internal/hallpass',
      dataDirectory: '/var/lib/hallpass',
      bootstrapAdminKey: adminKey,
      issuer: 'https://hallpass.example',
      role: 'worker',
      host: '0.0.0.0',
      port: 0,
      gatewayUrl: 'https://gateway.hallpass.example',
      gatewayHost: '::',
      gatewayPort: 8443,
      metricsHost: '::1',
      metricsPort: 9000,
      logLevel: 'debug',
      preparedStatements: false,
      targetAllow: ['10.2.0.0/16'],
      targetPlaintext: ['10.3.0.0/16'],
      rateLimitPerSecond: 25,
      shutdownDelaySeconds: 5,
      shutdownGraceSeconds: 10,
      shutdownSeconds: 600,
      trustedProxies: ['10.0.0.0/8', 'fd00::/8'],
      outboundAllow: ['10.1.0.0/16'],
      dpopNonce: 'optional',
    });
    expect(current?.version).toMatch(/^[0-9a-f]{8}$/);
    expect(new Set([current, ...oldMasterKeys].map((key) => key?.version)).size).toBe(3);
  });

  it('accepts off as no rate limit', () => {
    expect(readConfig({ HALLPASS_RATE_LIMIT: 'off' }).rateLimitPerSecond).toBe('off');
  });

  it('counts an empty variable as absent', () => {
    const empty = {
      DATABASE_URL: '',
      DATABASE_URL_FILE: '',
      HALLPASS_PORT: '',
      HALLPASS_TRUSTED_PROXIES: '',
    };
    expect(readConfig(empty)).toEqual(readConfig({}));
    const path = file(production.DATABASE_URL);
    expect(readConfig({ ...production, DATABASE_URL: '', DATABASE_URL_FILE: path })).toMatchObject({
      databaseUrl: production.DATABASE_URL,
    });
  });

  it('ignores the variables of others', () => {
    expect(readConfig({ PATH: '/bin', PGHOST: 'x', hallpass_port: '1', DATABASE_URLS: 'x' })).toEqual(
      readConfig({}),
    );
  });

  it.each([
    'HALLPASS_PROT',
    'HALLPASS_',
    'HALLPASS_PORT_FILE',
    'HALLPASS_ROLE_FILE',
    'HALLPASS_toString',
  ])('refuses an unknown setting: %s', (name) => {
    expect(refusal({ [name]: 'x' })).toBe(`${name} is not a known setting`);
  });

  it('needs a master key and a public URL in production', () => {
    const { HALLPASS_MASTER_KEY: _key, ...withoutKey } = production;
    const { HALLPASS_PUBLIC_URL: _url, ...withoutUrl } = production;
    expect(refusal(withoutKey)).toBe('HALLPASS_MASTER_KEY is missing (DATABASE_URL is set)');
    expect(refusal(withoutUrl)).toBe('HALLPASS_PUBLIC_URL is missing (DATABASE_URL is set)');
  });
});

describe('a wrong value', () => {
  it.each([
    ['DATABASE_URL', 'mysql://db/hallpass'],
    ['DATABASE_URL', 'db.internal/hallpass'],
    ['DATABASE_OWNER_URL', 'postgres://:bad port/'],
    ['HALLPASS_BOOTSTRAP_ADMIN_KEY', 'hpa_short'],
    ['HALLPASS_BOOTSTRAP_ADMIN_KEY', `hpa_${'a'.repeat(43)}`],
    ['HALLPASS_BOOTSTRAP_ADMIN_KEY', adminKey.replace('hpa_', 'key_')],
    ['HALLPASS_BOOTSTRAP_ADMIN_KEY', `${adminKey}-`],
    ['HALLPASS_GATEWAY_PORT', '65536'],
    ['HALLPASS_GATEWAY_URL', 'http://gateway.example'],
    ['HALLPASS_GATEWAY_URL', 'https://gateway.example/'],
    ['HALLPASS_GATEWAY_URL', 'https://gateway.example/path'],
    ['HALLPASS_GATEWAY_URL', 'gateway.example'],
    ['HALLPASS_LOG_LEVEL', 'verbose'],
    ['HALLPASS_LOG_LEVEL', 'INFO'],
    ['HALLPASS_MASTER_KEY', 'c2hvcnQ'],
    ['HALLPASS_MASTER_KEY', `${masterKey}=`],
    ['HALLPASS_MASTER_KEY', ` ${masterKey}`],
    ['HALLPASS_MASTER_KEY', randomBytes(33).toString('base64url')],
    ['HALLPASS_MASTER_KEY', Buffer.alloc(32).toString('base64url')],
    ['HALLPASS_MASTER_KEY', randomBytes(32).toString('hex')],
    ['HALLPASS_MASTER_KEYS_OLD', `${masterKey},b2xk`],
    ['HALLPASS_METRICS_PORT', '65536'],
    ['HALLPASS_PORT', '-1'],
    ['HALLPASS_PORT', '80.5'],
    ['HALLPASS_PORT', '0x1f90'],
    ['HALLPASS_PORT', '1e3'],
    ['HALLPASS_PORT', ' '],
    ['HALLPASS_PORT', ' 8081'],
    ['HALLPASS_PORT', 'http'],
    ['HALLPASS_PREPARED_STATEMENTS', 'yes'],
    ['HALLPASS_PUBLIC_URL', 'http://hallpass.example'],
    ['HALLPASS_PUBLIC_URL', 'https://hallpass.example/'],
    ['HALLPASS_PUBLIC_URL', 'https://hallpass.example/path'],
    ['HALLPASS_PUBLIC_URL', 'https://hallpass.example?tenant=1'],
    ['HALLPASS_PUBLIC_URL', 'hallpass.example'],
    ['HALLPASS_RATE_LIMIT', '0'],
    ['HALLPASS_RATE_LIMIT', '-1'],
    ['HALLPASS_RATE_LIMIT', '1.5'],
    ['HALLPASS_RATE_LIMIT', '10001'],
    ['HALLPASS_RATE_LIMIT', 'OFF'],
    ['HALLPASS_RATE_LIMIT', 'none'],
    ['HALLPASS_ROLE', 'server'],
    ['HALLPASS_SHUTDOWN_DELAY_SECONDS', '121'],
    ['HALLPASS_SHUTDOWN_GRACE_SECONDS', '61'],
    ['HALLPASS_SHUTDOWN_SECONDS', '0'],
    ['HALLPASS_SHUTDOWN_SECONDS', '601'],
    ['HALLPASS_SHUTDOWN_SECONDS', '1h'],
    ['HALLPASS_DPOP_NONCE', 'on'],
    ['HALLPASS_OUTBOUND_ALLOW', '10.0.0.1'],
    ['HALLPASS_TRUSTED_PROXIES', '10.0.0.1'],
    ['HALLPASS_TRUSTED_PROXIES', '10.0.0.0/8,everyone'],
    ['HALLPASS_TRUSTED_PROXIES', '10.0.0.0/33'],
  ])('of %s stops the start with one line that names the setting without its value: %s', (name, value) => {
    const message = refusal({ ...production, [name]: value });
    expect(message).toMatch(new RegExp(`^${name} must `));
    expect(message).not.toContain('\n');
    for (const part of value.split(','))
      if (part.trim().length > 3) expect(message).not.toContain(part.trim());
  });
});

describe('a secret', () => {
  const secrets = {
    DATABASE_URL: production.DATABASE_URL,
    DATABASE_OWNER_URL: 'postgres://owner:s3cret@db.internal/hallpass',
    HALLPASS_MASTER_KEY: masterKey,
    HALLPASS_MASTER_KEYS_OLD: oldKeys.join(','),
    HALLPASS_BOOTSTRAP_ADMIN_KEY: adminKey,
  };
  const names = Object.keys(secrets) as (keyof typeof secrets)[];

  /** Reads the configuration, and removes the master keys, which cannot be printed. */
  function comparable(environment: Record<string, string | undefined>) {
    const { masterKey: key, oldMasterKeys, ...rest } = readConfig(environment);
    return { ...rest, key: key?.version, old: oldMasterKeys.map(({ version }) => version) };
  }

  it.each(names)('may be given in a file, whose last line break is ignored: %s', (name) => {
    const all = { ...production, ...secrets };
    const { [name]: value, ...others } = all;
    for (const text of [value, `${value}\n`, `${value}\r\n`]) {
      expect(comparable({ ...others, [`${name}_FILE`]: file(text) })).toEqual(comparable(all));
    }
  });

  it.each(names)('may not be given twice, in an unreadable file or in an empty file: %s', (name) => {
    const { [name]: value, ...others } = { ...production, ...secrets };
    const twin = `${name}_FILE`;
    expect(refusal({ ...others, [name]: value, [twin]: file(value) })).toBe(
      `${name} and its _FILE twin are both set`,
    );
    for (const path of [join(directory, 'missing'), directory, 'a\0b']) {
      expect(refusal({ ...others, [twin]: path })).toBe(`${twin} names a file that cannot be read`);
    }
    for (const text of ['', '\n']) {
      expect(refusal({ ...others, [twin]: file(text) })).toBe(`${twin} names an empty file`);
    }
  });

  it('that is invalid in its file is reported by its variable, and not shown', () => {
    const path = file('postgresql//owner:s3cret@db');
    expect(refusal({ ...production, DATABASE_URL: undefined, DATABASE_URL_FILE: path })).toBe(
      'DATABASE_URL must be a postgres:// URL',
    );
  });

  it('two of which are invalid is reported one at a time', () => {
    const message = refusal({ ...production, DATABASE_URL: 'x', HALLPASS_MASTER_KEY: 'y' });
    expect(message).toBe('DATABASE_URL must be a postgres:// URL');
  });
});
