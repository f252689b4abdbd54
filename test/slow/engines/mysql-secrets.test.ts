import { describe, expect, it } from 'vitest';
import { preflight } from '../../../src/engines/preflight.ts';
import { newPassword } from '../../engines/contract.ts';
import { isMariadbMissing, startMariadb } from '../../engines/mysql/mariadb-server.ts';
import { connectAs, prepareMariadb, useSubject } from '../../engines/mysql/subject.ts';
import { soon } from '../../engines/target-options.ts';

describe.skipIf(isMariadbMissing)('a MariaDB server that logs every statement', () => {
  it('has no password in its log, in the statements of its sessions, or in what it stores', async () => {
    const server = await startMariadb();
    const subject = await prepareMariadb(server);
    const { target, accounts } = useSubject(subject);
    const account = await accounts.make();
    const again: unknown = await target.create(account).catch((error: unknown) => error);
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
      JSON.stringify(await subject.asRoot('select INFO from information_schema.processlist')),
      JSON.stringify(await subject.asRoot('select User, Priv from mysql.global_priv')),
      JSON.stringify(again) + String(again),
    ].join('\n');
    session.destroy();
    expect(seen).toContain(`create user '${account.name}'@'%' identified via mysql_native_password using '*`);
    expect(seen).toContain('set password = ');
    for (const secret of [account.password, another, checked.password]) expect(seen).not.toContain(secret);
  });
});
