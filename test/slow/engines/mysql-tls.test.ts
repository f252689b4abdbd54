import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { endAccount, failure } from '../../engines/contract.ts';
import { isMariadbMissing, startMariadb } from '../../engines/mysql/mariadb-server.ts';
import { type MariadbSubject, prepareMariadb, useSubject } from '../../engines/mysql/subject.ts';
import { testCa } from '../../outbound/https-server.ts';
import { makeAuthority } from './certificate-authority.ts';

const certificates = join(import.meta.dirname, '../../outbound/certificates');
const read = (name: string): Buffer => readFileSync(join(certificates, name));

describe.skipIf(isMariadbMissing)('a MariaDB target with TLS', () => {
  let subject: MariadbSubject;
  beforeAll(async () => {
    const server = await startMariadb({
      files: { 'server.pem': read('server.pem'), 'server-key.pem': read('server-key.pem') },
      lines: [
        'ssl-cert=DIRECTORY/server.pem',
        'ssl-key=DIRECTORY/server-key.pem',
        'require-secure-transport=on',
        'bind-address=127.0.0.1,127.0.0.2',
      ],
    });
    subject = await prepareMariadb(server);
  });
  /** Opens the target by a name or an address, each of which leads to the server. */
  const named = (host: string) => {
    const createSocket = createTargetSockets({
      isAllowed: createAddressRules(['127.0.0.0/8']),
      resolve: async () => ['127.0.0.1'],
    });
    const options = { ...subject.options, createSocket };
    return useSubject({ ...subject, options }, { host, tls: { mode: 'verify', ca: testCa } }).target;
  };

  it('is used if its certificate is from the configured authority: every connection is encrypted', async () => {
    const { target, accounts } = useSubject(subject, { tls: { mode: 'verify', ca: testCa } });
    expect(await target.findProblems(subject.mappings)).toEqual([]);
    const account = await accounts.make();
    const session = await target.holdSession(account);
    const { target: plain } = useSubject(subject);
    await expect(plain.checkHealth()).rejects.toEqual(failure('login-refused'));
    await endAccount(target, account.name);
    expect(await session.hasEnded()).toBe(true);
  });

  it('is refused if its certificate is from another authority, or from none that Node trusts', async () => {
    const ca = await makeAuthority();
    for (const tls of [{ mode: 'verify', ca } as const, { mode: 'verify' } as const]) {
      const { target } = useSubject(subject, { tls });
      await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
    }
  });

  it.each([
    'issuer.test',
    'localhost',
    '127.0.0.1',
  ])('is used by the name %s of its certificate', async (host) => {
    await named(host).checkHealth();
  });

  // The certificate is also for `localhost`, so an address that is not checked would be accepted.
  it.each(['other.test', '127.0.0.2'])('is refused as %s, which its certificate is not for', async (host) => {
    await expect(named(host).checkHealth()).rejects.toEqual(failure('tls-failed'));
  });

  it('is refused if the configured authority is not a certificate', async () => {
    const { target } = useSubject(subject, { tls: { mode: 'verify', ca: 'nonsense' } });
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
  });

  it('is refused again on every later connection, also if an earlier one was accepted', async () => {
    await named('issuer.test').checkHealth();
    const target = named('other.test');
    for (let i = 0; i < 3; i += 1) await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
  });
});
