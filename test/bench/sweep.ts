import { fail, median, ms, print, printTarget, rate, setting } from './figures.ts';
import { type Latencies, openLoop, type Report } from './open-loop.ts';
import { type BenchDatabase, type BenchPostgres, startPostgres, withClient } from './postgres.ts';
import { fillGrants } from './rows.ts';
import { measureStartUp } from './start-up.ts';
import { load, perSecond, type Server, startServer } from './support.ts';
import { explainBatch } from './sweep-plan.ts';

/**
 * Measures the job that writes grants as expired, with many due among many more. Compares with one UPDATE of the same
 * rows, and with one that also inserts the events, as the job must. Each on a fresh copy of the same database, in
 * turn. Then measures how the job affects minting at half of the broker's capacity.
 */
const grants = setting('GRANTS', 5_000_000);
const due = setting('DUE', 1_000_000);
const rounds = setting('SWEEP_ROUNDS', 1);
const segmentSeconds = setting('SECONDS', 4);
const segmentsOfLoad = setting('SEGMENTS', 5);
const connections = setting('CONNECTIONS', 64);

const dueRows = "status in ('active', 'scheduled') and expires_at <= now()";
const bulkUpdate = `
update grants set status = 'expired', ended_at = expires_at, ended_by = 'expire-grants' where ${dueRows}`;
const bulkWithEvents = `
with ended as (${bulkUpdate} returning id, agent_id)
insert into audit_events (id, at, type, outcome, actor_kind, actor_id, agent_id, grant_id, details)
select 'evt_01' || lpad(to_hex(row_number() over ()), 24, '0'), now(), 'grant.expired', 'success', 'system',
  'expire-grants', agent_id, id, '{}' from ended`;

interface Template {
  postgres: BenchPostgres;
  database: BenchDatabase;
  about: Record<string, string>;
}

async function makeTemplate(postgres: BenchPostgres): Promise<Template> {
  const database = await postgres.createDatabase('grants_template');
  const server = await startServer('hallpass', { databaseUrl: database.applicationUrl });
  const { authorization, form } = server.target;
  const about = { ...server.about, authorization, form };
  await server.stop();
  const startedAt = performance.now();
  await fillGrants(postgres, database, { count: grants, due, like: server.about.grantId ?? '' });
  const sizes = await withClient(database.adminUrl, (client) =>
    client.query<{ table: string; indexes: string; due: string }>(
      `select pg_size_pretty(pg_table_size('grants')) as table, pg_size_pretty(pg_indexes_size('grants')) as indexes,
              (select count(*) from grants where ${dueRows}) as due`,
    ),
  );
  const { table, indexes, due: counted } = sizes.rows[0] ?? {};
  const tookSeconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  print(
    `${grants} grants, ${counted} of them due: table ${table}, indexes ${indexes}, made in ${tookSeconds} s`,
  );
  if (Number(counted) !== due) fail(`${counted} grants are due instead of ${due}`);
  return { postgres, database, about };
}

/** Calls `work` with a fresh copy of the template. */
async function onCopy<T>(
  { postgres, database }: Template,
  work: (copy: BenchDatabase) => Promise<T>,
): Promise<T> {
  const copy = await postgres.copyDatabase(database, 'grants_copy');
  try {
    return await work(copy);
  } finally {
    await postgres.dropDatabase(copy);
  }
}

async function countEnded(database: BenchDatabase): Promise<{ ended: number; events: number }> {
  const result = await withClient(database.adminUrl, (client) =>
    client.query<{ ended: string; events: string }>(
      `select (select count(*) from grants where ended_at = expires_at and ended_by = 'expire-grants'
                 and version = 2 and expires_at > now() - interval '1 day') as ended,
              (select count(distinct grant_id) from audit_events where type = 'grant.expired') as events`,
    ),
  );
  return { ended: Number(result.rows[0]?.ended), events: Number(result.rows[0]?.events) };
}

/** Returns the rows per second of one statement of the owner. */
function bulk(template: Template, text: string): Promise<number> {
  return onCopy(template, async (copy) => {
    const startedAt = performance.now();
    const changed = await withClient(copy.ownerUrl, (client) => client.query(text));
    if (changed.rowCount !== due) fail(`the statement changed ${changed.rowCount} rows`);
    return due / ((performance.now() - startedAt) / 1000);
  });
}

/** Returns the rows per second of a run of the job that ends this many grants. */
async function runJob(server: Server, rows = due): Promise<number> {
  const run = await server.order<{ outcome: string; ms: number; error: string | null }>({
    job: 'expire-grants',
  });
  if (run.outcome !== 'done') fail(`the job ended as ${run.outcome}: ${run.error}`);
  return rows / (run.ms / 1000);
}

/**
 * Raises the epoch of about a third of the agents, as if they were all disabled at once. Returns how many grants that
 * ended.
 */
async function disableMany(database: BenchDatabase): Promise<number> {
  const many = "right(id, 1) in ('0', '3', '6', '9', 'c')";
  const { rows } = await withClient(database.ownerUrl, async (client) => {
    await client.query(`update agents set epoch = epoch + 1, updated_at = now() where ${many}`);
    return client.query<{ n: string }>(
      "select count(*) as n from grants g join agents a on a.id = g.agent_id where g.status = 'active' and g.agent_epoch <> a.epoch",
    );
  });
  return Number(rows[0]?.n);
}

/**
 * Returns the rows per second of the job in an otherwise idle broker: for expired grants, and for those that raised
 * epochs have ended. Prints the plan of a batch before.
 */
function sweep(template: Template): Promise<{ speed: number; outdatedSpeed: number }> {
  return onCopy(template, async (copy) => {
    print(`the plan of one of its batches:\n${await explainBatch(copy.applicationUrl)}`);
    const server = await startServer('hallpass', { databaseUrl: copy.applicationUrl, about: template.about });
    try {
      const speed = await runJob(server);
      const { ended, events } = await countEnded(copy);
      if (ended !== due || events !== due) fail(`${ended} grants were ended, with ${events} events`);
      const outdatedSpeed = await runJob(server, await disableMany(copy));
      return { speed, outdatedSpeed };
    } finally {
      await server.stop();
    }
  });
}

/** Latencies in milliseconds. */
interface BesideMinting {
  alone: Latencies;
  swept: Latencies;
  speed: number;
}

/** Loads several times for a few seconds, so that one stall of the machine does not decide the result. */
async function inSegments(server: Server, perSecondThen: number): Promise<Latencies> {
  const segments: Report[] = [];
  for (let n = 0; n < segmentsOfLoad; n += 1) {
    segments.push(
      await openLoop(server.target, { perSecond: perSecondThen, seconds: segmentSeconds, connections }),
    );
  }
  const wrong = segments.reduce((sum, run) => sum + run.shed + run.bad + run.lost, 0);
  if (wrong > 0) fail(`${wrong} answers were no token`);
  const of = (name: keyof Latencies): number => median(segments.map(({ okLatency }) => okLatency[name]));
  return { p50: of('p50'), p99: of('p99'), max: of('max') };
}

/** Loads minting at half of the capacity: alone, and then while the job runs. */
function besideMinting(template: Template): Promise<BesideMinting> {
  return onCopy(template, async (copy) => {
    const server = await startServer('hallpass', { databaseUrl: copy.applicationUrl, about: template.about });
    try {
      const half = perSecond(load(server.target, { script: 'post.lua', seconds: 5, connections })) / 2;
      // Otherwise, pending writes of the copy would slow down the first measurement.
      await withClient(copy.adminUrl, (client) => client.query('checkpoint'));
      const alone = await inSegments(server, half);
      let working = true;
      const job = runJob(server).finally(() => {
        working = false;
      });
      const swept = await inSegments(server, half);
      if (!working) fail('the job ended before the load beside it: give it more grants');
      return { alone, swept, speed: await job };
    } finally {
      await server.stop();
    }
  });
}

async function main(): Promise<void> {
  const postgres = await startPostgres();
  try {
    const template = await makeTemplate(postgres);
    const speeds: Record<'job' | 'outdated' | 'update' | 'updateAndEvents', number[]> = {
      job: [],
      outdated: [],
      update: [],
      updateAndEvents: [],
    };
    const beside: BesideMinting[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const { speed, outdatedSpeed } = await sweep(template);
      speeds.job.push(speed);
      speeds.outdated.push(outdatedSpeed);
      speeds.update.push(await bulk(template, bulkUpdate));
      speeds.updateAndEvents.push(await bulk(template, bulkWithEvents));
      beside.push(await besideMinting(template));
    }
    print(`expire-grants                  ${rate(median(speeds.job))}`);
    print(`the same, of disabled agents   ${rate(median(speeds.outdated))}`);
    print(`one UPDATE, without events     ${rate(median(speeds.update))}`);
    print(`one UPDATE and their events    ${rate(median(speeds.updateAndEvents))}`);
    print(
      `job / UPDATE ${(median(speeds.job) / median(speeds.update)).toFixed(2)}   job / UPDATE with events ${(median(speeds.job) / median(speeds.updateAndEvents)).toFixed(2)}`,
    );
    const alone = beside.map((each) => each.alone);
    const swept = beside.map((each) => each.swept);
    const of = (runs: Latencies[], name: keyof Latencies): number => median(runs.map((run) => run[name]));
    print(
      `minting at half load: alone p50 ${ms(of(alone, 'p50'))} p99 ${ms(of(alone, 'p99'))}, beside the job p50 ${ms(of(swept, 'p50'))} p99 ${ms(of(swept, 'p99'))}; the job meanwhile ${rate(median(beside.map(({ speed }) => speed)))}`,
    );
    const ratio = of(swept, 'p99') / of(alone, 'p99');
    printTarget('minting p99 beside the job / alone', ratio, { atMost: 2 });
    const { database, about } = template;
    const startUpMs = await measureStartUp({
      url: database.applicationUrl,
      masterKey: about.masterKey ?? '',
    });
    printTarget('seconds from start to ready', startUpMs / 1000, { atMost: 10 });
  } finally {
    await postgres.stop();
  }
}

await main();
