import pg from 'pg';
import { beforeAll, describe, expect, it } from 'vitest';
import { failure } from '../../engines/contract.ts';
import {
  connectAs,
  type PostgresSubject,
  preparePostgres,
  useSubject,
} from '../../engines/postgres/subject.ts';
import { eventually } from '../../support/eventually.ts';
import { isLeftOut } from '../interop/software.ts';
import {
  copyForStandby,
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

describe.skipIf(isMissing)('a PostgreSQL target with a replica', () => {
  let subject: PostgresSubject;
  let standby: PostgresServer;
  beforeAll(async () => {
    const cluster = await createCluster(major);
    const copy = await copyForStandby(cluster);
    const primary = await startPostgres(cluster);
    standby = await startPostgres(copy, {
      primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres`,
    });
    subject = await preparePostgres(primary.adminUrl);
  });
  const replica = () => ({ host: '127.0.0.1', port: standby.port });
  /** Connects to the standby, as soon as it has replayed the account. */
  const connectToStandby = (account: { name: string; password: string }): Promise<pg.Client> =>
    eventually(() => connectAs(subject, account, { port: standby.port }));
  const onStandby = async (text: string): Promise<void> => {
    const client = new pg.Client({ connectionString: standby.adminUrl });
    await client.connect();
    await client.query(text);
    await client.end();
  };

  it('has the same name on both servers', async () => {
    const { target } = useSubject(subject);
    const { target: other } = useSubject(subject, replica());
    await eventually(async () => expect(await other.identify()).toBe(await target.identify()));
  });

  it('ends sessions on the replica, too, and no login there succeeds afterwards', async () => {
    const { target, accounts } = useSubject(subject, { replicas: [replica()] });
    expect(await target.findProblems(subject.mappings)).toEqual([]);
    const account = await accounts.make();
    const sessions = [await connectAs(subject, account), await connectToStandby(account)];
    await target.disableAccess(account.name);
    expect(await target.endSessions(account.name)).toBe(2);
    for (const session of sessions) await expect(session.query('select 1')).rejects.toThrow();
    await expect(connectAs(subject, account, { port: standby.port })).rejects.toThrow();
    expect((await target.cleanUp(account.name)).isGone).toBe(true);
  });

  it('does not report the end before the replica has replayed it, but ends what it can meanwhile', async () => {
    const { target, accounts } = useSubject(subject, { replicas: [replica()] });
    const account = await accounts.make();
    const onPrimary = await connectAs(subject, account);
    const onReplica = await connectToStandby(account);
    await onStandby('select pg_wal_replay_pause()');
    await target.disableAccess(account.name);
    const hurried = useSubject(
      { ...subject, options: { ...subject.options, timeoutMs: 500 } },
      { replicas: [replica()] },
    );
    await expect(hurried.target.endSessions(account.name)).rejects.toEqual(failure('timed-out'));
    await expect(onPrimary.query('select 1')).rejects.toThrow();
    await onReplica.query('select 1');
    await onStandby('select pg_wal_replay_resume()');
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

  it('has a problem if a replica is not one, or if the primary is one', async () => {
    const { host, port } = subject.options.connection;
    const { target: wrong } = useSubject(subject, { replicas: [{ host, port }] });
    expect(await wrong.findProblems(subject.mappings)).toEqual([
      { problem: 'a server in replicas is not a replica (it is not in recovery)' },
    ]);
    const { target: swapped } = useSubject(subject, replica());
    expect(await swapped.findProblems(subject.mappings)).toEqual([
      { problem: 'the server is a replica, on which no account can be made' },
    ]);
  });
});
