import { describe, expect, it } from 'vitest';
import { preflight } from '../../../src/engines/preflight.ts';
import { newPassword } from '../../engines/contract.ts';
import { connectAs, preparePostgres, useSubject } from '../../engines/postgres/subject.ts';
import { soon } from '../../engines/target-options.ts';
import { isLeftOut } from '../interop/software.ts';
import { createCluster, findPostgres, startPostgres } from './postgres-server.ts';

const major = '18';
const isMissing = isLeftOut(
  `PostgreSQL ${major} (npm ci --prefix .ci/postgres)`,
  findPostgres(major) !== undefined,
);

describe.skipIf(isMissing)('a PostgreSQL server that logs every statement', () => {
  it('has no password in its log, in the statements of its sessions, or in what it stores', async () => {
    const server = await startPostgres(await createCluster(major), {
      log_statement: 'all',
      log_min_error_statement: 'debug5',
      log_min_duration_statement: '0',
      log_parameter_max_length_on_error: '-1',
    });
    const subject = await preparePostgres(server.adminUrl);
    const { target, accounts } = useSubject(subject);
    const account = await accounts.make();
    await target.create(account).catch(() => {});
    const session = await connectAs(subject, account);
    const another = newPassword();
    await target.rotateAdminCredential(soon(another));
    const checked = { name: `${accounts.prefix}checked`, password: newPassword() };
    const problems = await preflight({
      target,
      account: checked,
      mappings: subject.mappings,
      clock: subject.options.clock,
      record: async () => {},
    });
    expect(problems).toEqual([]);
    const seen = [
      await server.readLog(),
      JSON.stringify(await subject.asSuperuser('select query from pg_stat_activity')),
      JSON.stringify(await subject.asSuperuser('select rolname, rolpassword from pg_authid')),
    ].join('\n');
    await session.end();
    expect(seen).toContain(`create role "${account.name}" login`);
    expect(seen).toContain('SCRAM-SHA-256$4096:');
    for (const secret of [account.password, another, checked.password]) expect(seen).not.toContain(secret);
  });
});
