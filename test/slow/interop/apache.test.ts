import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';
import { isLeftOut, startDaemon } from './software.ts';
import { startTokens, type TokenService, type Tokens } from './tokens.ts';

/** The modules of Debian's apache2 and libapache2-mod-oauth2, which verifies tokens offline. */
const modules = '/usr/lib/apache2/modules';
const apache = '/usr/sbin/apache2';
const missing = isLeftOut(
  'libapache2-mod-oauth2',
  existsSync(apache) && existsSync(`${modules}/mod_oauth2.so`),
);
const identifier = 'https://files.example';

let service: TokenService;
let url: string;

/** Starts a separate Apache in its own directory, whose only content is `/files/hello`. */
async function startApache(issuer: string): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-apache-'));
  atEnd(async () => rmSync(directory, { recursive: true }));
  chmodSync(directory, 0o755);
  mkdirSync(join(directory, 'www/files'), { recursive: true });
  writeFileSync(join(directory, 'www/files/hello'), 'hello');
  const port = await freePort();
  const load = (name: string): string => `LoadModule ${name}_module ${modules}/mod_${name}.so`;
  const configuration = join(directory, 'apache.conf');
  writeFileSync(
    configuration,
    [
      ...['mpm_event', 'authz_core', 'authn_core', 'rewrite', 'oauth2'].map(load),
      ...['User www-data', 'Group www-data', 'ServerName localhost', 'StartServers 1'],
      `Listen 127.0.0.1:${port}`,
      `ServerRoot ${directory}`,
      `DefaultRuntimeDir ${directory}`,
      `PidFile ${join(directory, 'pid')}`,
      `Mutex file:${directory}`,
      `ErrorLog ${join(directory, 'error.log')}`,
      `DocumentRoot ${join(directory, 'www')}`,
      `Define ISSUER ${issuer}`,
      `Define IDENTIFIER ${identifier}`,
      `Include ${join(import.meta.dirname, 'servers/apache.conf')}`,
      '',
    ].join('\n'),
  );
  const check = () => fetch(`http://127.0.0.1:${port}/`);
  await startDaemon({ command: apache, args: ['-f', configuration, '-DFOREGROUND'], check });
  return `http://127.0.0.1:${port}`;
}

beforeAll(async () => {
  if (missing) return;
  service = await startTokens({ identifier, scopes: { good: 'files.read', narrow: 'files.list' } });
  url = await startApache(service.issuer);
});

function call(token?: string): Promise<Response> {
  return fetch(
    `${url}/files/hello`,
    token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
  );
}

describe.skipIf(missing)('Apache with mod_oauth2', () => {
  it('accepts tokens for it until they expire', async () => {
    for (const token of [service.tokens.good, service.tokens.aged]) {
      const answer = await call(token);
      expect(answer.status).toBe(200);
      expect(await answer.text()).toBe('hello');
    }
  });

  it.each<[keyof Tokens, number]>([
    ['expired', 401],
    ['otherAudience', 401],
    ['otherIssuer', 401],
    ['garbage', 401],
    ['narrow', 403],
  ])('refuses a token with this fault: %s', async (name, status) => {
    expect((await call(service.tokens[name])).status).toBe(status);
  });

  it('responds with 401 to requests without a token or with forged identity headers', async () => {
    expect((await call()).status).toBe(401);
    const claimed = {
      OAUTH2_CLAIM_scope: 'files.read',
      OAUTH2_CLAIM_iss: service.issuer,
      OAUTH2_CLAIM_aud: identifier,
    };
    expect((await fetch(`${url}/files/hello`, { headers: claimed })).status).toBe(401);
  });
});
