import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { preflight } from '../../../src/engines/preflight.ts';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { failure, newPassword } from '../../engines/contract.ts';
import { isRedisMissing, startRedis } from '../../engines/redis/server.ts';
import { useServer } from '../../engines/redis/subject.ts';
import { testCa } from '../../outbound/https-server.ts';
import { freePort } from '../../support/free-port.ts';

const certificates = join(import.meta.dirname, '../../outbound/certificates');

describe.skipIf(isRedisMissing)('a Redis target with TLS', () => {
  let server: Awaited<ReturnType<typeof startRedis>>;
  let port: number;
  beforeAll(async () => {
    port = await freePort();
    const files = [
      `tls-cert-file ${join(certificates, 'server.pem')}`,
      `tls-key-file ${join(certificates, 'server-key.pem')}`,
      `tls-ca-cert-file ${join(certificates, 'ca.pem')}`,
    ];
    server = await startRedis({ lines: [`tls-port ${port}`, 'tls-auth-clients no', ...files] });
  });
  const use = (change: Parameters<typeof useServer>[1]) => useServer(server, { port, ...change });

  it('is used if its certificate is from the configured authority: a preflight passes', async () => {
    const { target, subject, accounts } = use({ tls: { mode: 'verify', ca: testCa } });
    const account = { name: `${accounts.prefix}tls`, password: newPassword() };
    const { mappings, options } = subject;
    const problems = await preflight({
      target,
      mappings,
      account,
      clock: options.clock,
      record: async () => {},
    });
    expect(problems).toEqual([]);
    await target.close();
    await expect
      .poll(async () => String(await server.asRoot('CLIENT', 'LIST')))
      .not.toContain('user=hallpass');
  });

  it('ends its connections when a call takes too long', async () => {
    const { target } = use({ tls: { mode: 'verify', ca: testCa }, timeoutMs: 300 });
    await target.checkHealth();
    await server.whileStopped(async () => {
      await expect(target.checkHealth()).rejects.toEqual(failure('timed-out'));
      await expect(target.checkHealth()).rejects.toEqual(failure('timed-out'));
    });
    await target.checkHealth();
  });

  it('is refused if its certificate is from another authority, or from none that Node trusts', async () => {
    const ca = await makeAuthority();
    for (const tls of [{ mode: 'verify', ca } as const, { mode: 'verify' } as const]) {
      await expect(use({ tls }).target.checkHealth()).rejects.toEqual(failure('tls-failed'));
    }
  });

  it('is refused if its certificate is for another host', async () => {
    const createSocket = createTargetSockets({
      isAllowed: createAddressRules(['127.0.0.0/8']),
      resolve: async () => ['127.0.0.1'],
    });
    const named = (host: string) => use({ createSocket, host, tls: { mode: 'verify', ca: testCa } }).target;
    await named('issuer.test').checkHealth();
    await expect(named('other.test').checkHealth()).rejects.toEqual(failure('tls-failed'));
  });

  it('is refused if the configured authority is not a certificate', async () => {
    const { target } = use({ tls: { mode: 'verify', ca: 'nonsense' } });
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
  });

  it('that demands certificates of clients cannot be used', async () => {
    await server.asRoot('CONFIG', 'SET', 'tls-auth-clients', 'yes');
    const error: unknown = await use({ tls: { mode: 'verify', ca: testCa } })
      .target.checkHealth()
      .catch((reason: unknown) => reason);
    await server.asRoot('CONFIG', 'SET', 'tls-auth-clients', 'no');
    expect(error).toEqual(expect.objectContaining({ name: 'TargetFailure' }));
    expect(['tls-failed', 'unreachable']).toContain((error as { problem: string }).problem);
  });
});

/** Creates a certificate authority that has signed nothing. */
async function makeAuthority(): Promise<string> {
  const { stdout } = await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-keyout', '/dev/null', '-subj', '/CN=another authority', '-days', '1'],
  ]);
  return stdout;
}
