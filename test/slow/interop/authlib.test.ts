import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { atEnd } from '../../support/at-end.ts';
import { type Service, startService } from './broker.ts';
import { isLeftOut } from './software.ts';

/**
 * The Python of Debian's python3-authlib. The tests are skipped if it is not installed, unless HALLPASS_TEST_INTEROP
 * requires it.
 */
const python = '/usr/bin/python3';
const run = promisify(execFile);
const isThere = await run(python, ['-c', 'import authlib, requests']).then(
  () => true,
  () => false,
);
const missing = isLeftOut('python3-authlib', isThere);

let service: Service;
let keyFile: string;
beforeAll(async () => {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-authlib-'));
  atEnd(async () => rmSync(directory, { recursive: true }));
  keyFile = join(directory, 'key.pem');
  service = await startService();
  const { privateKey } = service.keyAgent.key;
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
});

describe.skipIf(missing)('Authlib', () => {
  it('gets a token for a resource with its key (private_key_jwt), repeatedly', async () => {
    const { issuer, keyAgent, resource } = service;
    const script = join(import.meta.dirname, 'clients/authlib_private_key_jwt.py');
    const ask = async (): Promise<Record<string, string>> => {
      const { stdout } = await run(python, [
        script,
        issuer,
        keyAgent.id,
        keyFile,
        resource.identifier,
        'read',
      ]);
      return JSON.parse(stdout) as Record<string, string>;
    };
    for (let n = 0; n < 2; n += 1) {
      const token = await ask();
      expect(token).toMatchObject({ token_type: 'Bearer', scope: 'read', expires_in: 300 });
      expect(decodeJwt(token.access_token ?? '')).toMatchObject({
        sub: keyAgent.id,
        aud: resource.identifier,
      });
    }
  });

  it('accepts the metadata of RFC 8414 and of OpenID Connect Discovery', async () => {
    const { issuer } = service;
    const script = join(import.meta.dirname, 'clients/authlib_metadata.py');
    // Authlib requires https, which a broker on the loopback interface does not have.
    const env = { ...process.env, AUTHLIB_INSECURE_TRANSPORT: '1' };
    const { stdout } = await run(python, [script, issuer, issuer], { env });
    expect(stdout).toBe(`${issuer}\n${issuer}\n`);
  });
});
