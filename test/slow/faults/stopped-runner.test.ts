import pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { type Cluster, isRunning, startCluster } from '../../cluster/cluster.ts';
import type { Replica } from '../../cluster/replica.ts';
import { grantTo, permitAll } from '../../oauth/fixtures.ts';
import { atEnd } from '../../support/at-end.ts';
import { agentOf, createAgent, createPolicy, createResource, type TestAgent } from '../../support/broker.ts';
import { parallel } from '../../support/count.ts';
import { eventually } from '../../support/eventually.ts';

/**
 * A process is suspended (SIGSTOP) in a run of the job `expire-grants`, while its lease expires and the other process
 * takes over the job. A lock that the run waits for determines where it is suspended, not the time.
 */
const job = 'expire-grants';
const slotMs = 10_000;

interface Scene extends Cluster {
  agent: TestAgent;
  resource: { id: string; identifier: string };
  /** A session of the owner, for locks. */
  owner: pg.Client;
  /** A session of a superuser, which sees the locks that other sessions wait for. */
  admin: pg.Client;
}

async function session(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  client.on('error', () => {});
  await client.connect();
  atEnd(() => client.end());
  return client;
}

async function arrange(): Promise<Scene> {
  const cluster = await startCluster();
  const [first] = cluster.replicas;
  await createPolicy(first, permitAll);
  return {
    ...cluster,
    agent: await createAgent(first),
    resource: await createResource(first),
    owner: await session(cluster.ownerUrl),
    admin: await session(inject('server').adminUrl),
  };
}

interface JobRow {
  holder: string | null;
  fencing: string;
  last_slot: Date;
  last_rows: number;
  last_error: string | null;
}

async function jobRow({ query }: Scene): Promise<JobRow> {
  const [row] = await query<JobRow & pg.QueryResultRow>(
    'select holder, fencing, last_slot, last_rows, last_error from jobs where name = $1',
    [job],
  );
  if (row === undefined) throw new Error(`there is no job ${job}`);
  return row;
}

/** Returns everything that the job writes, including its own state. */
async function contents({ query }: Scene): Promise<string[]> {
  const rows = await query<{ line: string }>(
    `select line from (
       select 'grant ' || g::text as line from grants g union all select 'event ' || e::text from audit_events e
       union all select 'job ' || j::text from jobs j where name = $1
       union all select 'run ' || r::text from job_runs r where job = $1) lines order by line`,
    [job],
  );
  return rows.map(({ line }) => line);
}

/** Creates `count` grants of one second on a process, and waits until they have expired by the database's clock. */
async function makeDue(scene: Scene, through: Replica, count: number): Promise<string[]> {
  const agent = agentOf(through, scene.agent);
  const ids = await parallel(count, () => grantTo(agent, scene.resource, { duration_seconds: 1 }));
  await eventually(async () => {
    const [open] = await scene.query<{ n: number }>(
      'select count(*)::integer as n from grants where id = any($1) and expires_at > clock_timestamp()',
      [ids],
    );
    expect(open?.n).toBe(0);
  });
  return ids;
}

/** Waits for the next slot, which is up to 10 s away. */
const aSlotLong = <T>(check: () => Promise<T>): Promise<T> => eventually(check);

async function statuses({ query }: Scene, ids: string[]): Promise<string[]> {
  const rows = await query<{ status: string }>('select distinct status from grants where id = any($1)', [
    ids,
  ]);
  return rows.map(({ status }) => status);
}

/** Resolves to the server process of the session whose statement waits for the lock of the test. */
async function waiting({ admin, ownerUrl }: Scene, statement: string): Promise<number> {
  const database = new URL(ownerUrl).pathname.slice(1);
  const look = async (): Promise<number> => {
    const { rows } = await admin.query<{ pid: number }>(
      "select pid from pg_stat_activity where datname = $1 and wait_event_type = 'Lock' and query ilike $2",
      [database, statement],
    );
    expect(rows).toHaveLength(1);
    return rows[0]?.pid ?? 0;
  };
  return aSlotLong(look);
}

/** Returns the process that holds the job, and the other one. A holder is named `host/pid`. */
async function runners(scene: Scene): Promise<{ stopped: Replica; other: Replica }> {
  const { holder } = await jobRow(scene);
  const pid = Number(holder?.split('/').at(-1));
  const [a, b] = scene.replicas;
  expect([a.child.pid, b.child.pid]).toContain(pid);
  return a.child.pid === pid ? { stopped: a, other: b } : { stopped: b, other: a };
}

const timing = { 'at once': '', 'at commit': 'deferrable initially deferred' };

/** Makes transactions that write a grant as expired wait for the owner from now on. */
const hold = (owner: pg.Client, when: keyof typeof timing) =>
  owner.query(
    `create function hold() returns trigger language plpgsql as
       $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$;
     create constraint trigger hold after update on grants ${timing[when]}
       for each row when (new.status = 'expired') execute function hold();
     select pg_advisory_lock(42)`,
  );
const letGo = (owner: pg.Client) => owner.query('select pg_advisory_unlock(42)');

/** Ends the lease at once instead of waiting for 30 s: the suspended process cannot renew it. */
const passLease = ({ query }: Scene) =>
  query("update jobs set lease_expires_at = clock_timestamp() - interval '1 ms' where name = $1", [job]);

/** Resolves when a run later than `before` has ended. */
function finishedAfter(scene: Scene, before: JobRow): Promise<JobRow> {
  const look = async (): Promise<JobRow> => {
    const now = await jobRow(scene);
    expect(Number(now.fencing)).toBeGreaterThan(Number(before.fencing));
    expect(now.holder).toBeNull();
    return now;
  };
  return aSlotLong(look);
}

/** Asserts that the other process takes over the job, and that its run is recorded as following a lost run. */
async function expectTakenOver(scene: Scene, before: JobRow, rows: number): Promise<void> {
  const after = await finishedAfter(scene, before);
  expect(after).toMatchObject({
    fencing: String(Number(before.fencing) + 1),
    last_rows: rows,
    last_error: null,
  });
  expect(after.last_slot.getTime()).toBeGreaterThanOrEqual(before.last_slot.getTime() + slotMs);
}

const lost = 'another run has taken over the job';

/** Resumes the process. Asserts that it notices the loss of the job, and changes nothing before that. */
async function expectNoLateWrite(scene: Scene, stopped: Replica): Promise<void> {
  const before = await contents(scene);
  stopped.child.kill('SIGCONT');
  await stopped.seen(lost);
  expect(await contents(scene)).toEqual(before);
  expect(isRunning(stopped)).toBe(true);
  const runs = await scene.query<{ finished: boolean }>(
    'select finished_at is not null as finished from job_runs where job = $1 order by fencing desc limit 2',
    [job],
  );
  expect(runs).toEqual([{ finished: true }, { finished: false }]);
}

describe.concurrent('a process that is suspended past its lease', { timeout: 300_000 }, () => {
  let between: Scene;
  let within: Scene;
  beforeAll(async () => {
    [between, within] = await Promise.all([arrange(), arrange()]);
  });

  it('between two transactions of a run does not execute the next one, although there is work for it', async ({
    expect,
  }) => {
    const { owner, replicas } = between;
    await hold(owner, 'at commit');
    const early = await makeDue(between, replicas[0], 1);
    await waiting(between, 'commit%');
    const before = await jobRow(between);
    const { stopped, other } = await runners(between);
    stopped.child.kill('SIGSTOP');
    await letGo(owner);
    await eventually(async () => expect(await statuses(between, early)).toEqual(['expired']));

    const later = await makeDue(between, other, 4);
    await passLease(between);
    await expectTakenOver(between, before, later.length);
    expect(await statuses(between, later)).toEqual(['expired']);

    // This work the suspended run would do at once if it could, and no other process can do it.
    const left = await makeDue(between, other, 2);
    other.child.kill('SIGSTOP');
    await expectNoLateWrite(between, stopped);
    expect(await statuses(between, left)).toEqual(['active']);
    other.child.kill('SIGCONT');
  });

  it('within a transaction, which the server then ends, keeps nothing of it, and continues to run', async ({
    expect,
  }) => {
    const { owner, admin, replicas } = within;
    await hold(owner, 'at once');
    const due = await makeDue(within, replicas[0], 1);
    const pid = await waiting(within, '%update grants%');
    const before = await jobRow(within);
    const { stopped, other } = await runners(within);
    stopped.child.kill('SIGSTOP');
    await letGo(owner);
    // The server does this itself 15 s after the last statement of a transaction
    // (idle_in_transaction_session_timeout).
    await eventually(async () => {
      const { rows } = await admin.query('select state from pg_stat_activity where pid = $1', [pid]);
      expect(rows).toEqual([{ state: 'idle in transaction' }]);
    });
    await admin.query('select pg_terminate_backend($1)', [pid]);
    await passLease(within);
    expect(await statuses(within, due)).toEqual(['active']);
    await expectTakenOver(within, before, due.length);
    other.child.kill('SIGSTOP');
    await expectNoLateWrite(within, stopped);
    other.child.kill('SIGCONT');
  });
});
