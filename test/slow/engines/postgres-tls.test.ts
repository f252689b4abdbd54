import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAddressRules } from '../../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../../src/outbound/target-socket.ts';
import { endAccount, failure } from '../../engines/contract.ts';
import { type PostgresSubject, preparePostgres, useSubject } from '../../engines/postgres/subject.ts';
import { testCa } from '../../outbound/https-server.ts';
import { isLeftOut } from '../interop/software.ts';
import { makeAuthority } from './certificate-authority.ts';
import {
  addFile,
  createCluster,
  findPostgres,
  type PostgresServer,
  startPostgres,
} from './postgres-server.ts';

const major = '16';
const isMissing = isLeftOut(
  `PostgreSQL ${major} (npm ci --prefix .ci/postgres)`,
  findPostgres(major) !== undefined,
);
const certificates = join(import.meta.dirname, '../../outbound/certificates');

describe.skipIf(isMissing)('a PostgreSQL target with TLS', () => {
  let subject: PostgresSubject;
  let server: PostgresServer;
  beforeAll(async () => {
    const cluster = await createCluster(major);
    await addFile(cluster, join(certificates, 'server.pem'), 'server.crt');
    await addFile(cluster, join(certificates, 'server-key.pem'), 'server.key');
    server = await startPostgres(cluster, { ssl: 'on' });
    subject = await preparePostgres(server.adminUrl);
  });

  it('is used if its certificate is from the configured authority: every connection is encrypted', async () => {
    const { target, accounts } = useSubject(subject, { tls: { mode: 'verify', ca: testCa } });
    const account = await accounts.make();
    const session = await target.holdSession(account);
    const connections = await subject.asSuperuser<{ ssl: boolean }>(
      `select s.ssl from pg_stat_activity a join pg_stat_ssl s using (pid)
        where a.usename = '${account.name}' or a.application_name = 'hallpass'`,
    );
    expect(connections.length).toBeGreaterThanOrEqual(2);
    expect(connections.every(({ ssl }) => ssl)).toBe(true);
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

  it('is refused if its certificate is for another host', async () => {
    const createSocket = createTargetSockets({
      isAllowed: createAddressRules(['127.0.0.0/8']),
      resolve: async () => ['127.0.0.1'],
    });
    const options = { ...subject.options, createSocket };
    const named = (host: string) =>
      useSubject({ ...subject, options }, { host, tls: { mode: 'verify', ca: testCa } }).target;
    await named('issuer.test').checkHealth();
    const target = named('other.test');
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
  });

  it('is refused if the configured authority is not a certificate', async () => {
    const { target } = useSubject(subject, { tls: { mode: 'verify', ca: 'nonsense' } });
    await expect(target.checkHealth()).rejects.toEqual(failure('tls-failed'));
  });
});
