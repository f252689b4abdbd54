import { beforeAll, describe, expect, it } from 'vitest';
import { failure, newPassword } from '../../engines/contract.ts';
import {
  isMariadbMissing,
  type MariadbServer,
  runOn,
  startMariadb,
} from '../../engines/mysql/mariadb-server.ts';
import { connectAs, type MariadbSubject, prepareMariadb, useSubject } from '../../engines/mysql/subject.ts';
import { eventually } from '../../support/eventually.ts';

describe.skipIf(isMariadbMissing)('a MariaDB target with a replica', () => {
  let subject: MariadbSubject;
  let standby: MariadbServer;
  beforeAll(async () => {
    const primary = await startMariadb({ lines: ['server-id=1', 'log-bin=binlog'] });
    standby = await startMariadb({ lines: ['server-id=2', 'read-only=on'] });
    const password = newPassword();
    const [start] = await runOn<{ position: string }>(
      primary.socketPath,
      'select @@global.gtid_binlog_pos as position',
    );
    await onStandby(
      `set global gtid_slave_pos = '${start?.position ?? ''}';
       change master to master_host = '127.0.0.1', master_port = ${primary.port}, master_user = 'copies',
         master_password = '${password}', master_use_gtid = slave_pos`,
    );
    await runOn(
      primary.socketPath,
      `create user copies@'%' identified by '${password}'; grant replication slave on *.* to copies@'%'`,
    );
    await onStandby('start slave');
    subject = await prepareMariadb(primary);
    await eventually(async () => {
      const [row] = await onStandby<{ n: number }>(
        "select count(*) as n from mysql.global_priv where User = 'hall pass'",
      );
      expect(row?.n).toBe(1);
    });
  });
  const onStandby = <Row>(statement: string): Promise<Row[]> => runOn<Row>(standby.socketPath, statement);
  const replica = () => ({ host: '127.0.0.1', port: standby.port });
  /** Connects to the replica, as soon as it has replayed the account and its role. */
  const connectToStandby = (account: { name: string; password: string }) =>
    eventually(() => connectAs(subject, account, { port: standby.port, database: 'app' }));

  it('has another name on each server', async () => {
    const [one, other] = [useSubject(subject).target, useSubject(subject, replica()).target];
    expect(await one.identify()).not.toBe(await other.identify());
  });

  it('ends sessions on the replica, too, and no login there succeeds afterwards', async () => {
    const { target, accounts } = useSubject(subject, { replicas: [replica()] });
    expect(await target.findProblems(subject.mappings)).toEqual([]);
    const account = await accounts.make();
    const sessions = [await connectAs(subject, account), await connectToStandby(account)];
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBe(2);
    for (const session of sessions) await expect(session.query('select 1')).rejects.toThrow();
    await expect(connectAs(subject, account, { port: standby.port })).rejects.toThrow('denied');
    expect((await target.cleanUp(account.name)).isGone).toBe(true);
  });

  it('does not report the end before the replica has replayed it, but ends what it can meanwhile', async () => {
    const { target, accounts } = useSubject(subject, { replicas: [replica()] });
    const account = await accounts.make();
    const onPrimary = await connectAs(subject, account);
    const onReplica = await connectToStandby(account);
    await onStandby('stop slave sql_thread');
    await target.disableAccess(account.name);
    const hurried = useSubject(
      { ...subject, options: { ...subject.options, timeoutMs: 700 } },
      { replicas: [replica()] },
    );
    await expect(hurried.target.endSessions(account.name)).rejects.toEqual(failure('timed-out'));
    await expect(onPrimary.query('select 1')).rejects.toThrow();
    await onReplica.query('select 1');
    await onStandby('start slave sql_thread');
    await target.endSessions(account.name);
    await expect(onReplica.query('select 1')).rejects.toThrow();
    await target.cleanUp(account.name);
  });

  it('ends sessions on the primary although a replica is unreachable, and fails', async () => {
    const { target, accounts } = useSubject(subject, { replicas: [{ host: '127.0.0.1', port: 1 }] });
    const account = await accounts.make();
    const session = await connectAs(subject, account);
    await target.disableAccess(account.name);
    await expect(target.endSessions(account.name)).rejects.toEqual(failure('unreachable'));
    await expect(session.query('select 1')).rejects.toThrow();
    await useSubject(subject).target.cleanUp(account.name);
  });

  it('has a problem if a replica is not one, if the primary is one, or if it has no binary log', async () => {
    const { host, port } = subject.options.connection;
    const { target: wrong } = useSubject(subject, { replicas: [{ host, port }] });
    expect(await wrong.findProblems(subject.mappings)).toEqual([
      { problem: 'a server in replicas is not a replica (its gtid_slave_pos is empty)' },
    ]);
    const { target: swapped } = useSubject(subject, { ...replica(), replicas: [replica()] });
    expect(await swapped.findProblems(subject.mappings)).toEqual([
      { problem: 'the server is read-only, so no account can be made' },
      { problem: 'the server has no binary log, so its replicas cannot be compared with it' },
    ]);
  });
});
