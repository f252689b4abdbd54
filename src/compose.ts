import type { RequestListener } from 'node:http';
import { hostname } from 'node:os';
import { createKeyAuthentication } from './admins/authenticate.ts';
import { bootstrapAdmin } from './admins/bootstrap.ts';
import { continueAuditOrder } from './audit/store.ts';
import { StrangerCounts } from './audit/strangers.ts';
import { type Base, type BrokerConfig, createBase, type Overrides } from './compose/base.ts';
import { createGatewayOf } from './compose/gateway.ts';
import { createListener, type Edge } from './compose/listener.ts';
import { createServices, type Services } from './compose/services.ts';
import { excessPowers } from './db/application-role.ts';
import type { Database } from './db/database.ts';
import { missingMigrations } from './db/migrate.ts';
import { ensurePartitionsAhead } from './db/partitions.ts';
import { BrokerError } from './errors.ts';
import { checkMasterKey } from './keys/master-key-check.ts';
import { createMetrics, type Metrics } from './operation/metrics.ts';
import { keepAnswer } from './platform/keep-answer.ts';
import { repeat } from './platform/repeat.ts';
import { createJobs } from './worker/jobs.ts';
import { createScheduler, type Scheduler } from './worker/scheduler.ts';

export type { BrokerConfig, Overrides } from './compose/base.ts';

export interface Broker {
  /** The whole HTTP surface. */
  app: RequestListener;
  /** The gateway, for an origin of its own; undefined if the configuration names none. */
  gateway: RequestListener | undefined;
  /** Prometheus metrics, for a separate port. */
  metrics: RequestListener;
  worker: Worker;
  /** Whether this start created the first admin. */
  bootstrapped: boolean;
  /** Makes readiness fail from now on, and ends long polls. */
  beginShutdown(): Promise<void>;
  /** Writes pending counts and closes the pools. */
  close(): Promise<void>;
}

/** The background worker: scheduled jobs, and the end of leases. */
export interface Worker extends Scheduler {
  /** Ends the leases that are due now. */
  endLeases(): Promise<void>;
}

const minuteMs = 60_000;

/**
 * Prepares the database; several replicas may do so at the same time. Returns whether this call created the first
 * admin.
 */
async function prepare(base: Base, services: Services): Promise<boolean> {
  const { config, clock, db, log } = base;
  const refuseStart = (detail: string): never => {
    throw new BrokerError('unavailable', { detail });
  };
  const missing = await missingMigrations(db);
  if (missing.length > 0) refuseStart(`the database lacks ${missing.join(', ')}: run npm run migrate`);
  const powers = await excessPowers(db);
  if (powers.length > 0)
    refuseStart(`DATABASE_URL must not log in as the owner: that role ${powers.join(', ')}`);
  await checkMasterKey({ db, envelope: services.envelope });
  await ensurePartitionsAhead(db, clock.now());
  if (await continueAuditOrder(db)) {
    log.warn('the database was restored into another cluster; new audit events follow the last restored one');
  }
  await services.feeds.register();
  await services.keys.start();
  await services.policies.ensureDefaultPolicy();
  await services.policies.refresh();
  return config.bootstrapAdminKey === undefined
    ? false
    : bootstrapAdmin(services.common, config.bootstrapAdminKey);
}

/** How long the counts of open grants are kept for scrapes: counting reads every open grant. */
const keepCountMs = 30_000;

function createMetricsOf({ database, hot, ending, gateway, clock }: Base, services: Services): Metrics {
  const { sweep, grantEndings, keys, keySets, feeds, leases } = services;
  const counts = keepAnswer({ clock, keepMs: keepCountMs, work: () => sweep.countOpen() });
  const figures =
    ({ pool }: Database) =>
    () => ({
      total: pool.totalCount,
      idle: pool.idleCount,
      waiting: pool.waitingCount,
    });
  return createMetrics({
    pools: {
      general: figures(database),
      tokens: figures(hot),
      leases: figures(ending),
      gateway: figures(gateway),
    },
    readGrants: () =>
      counts.read().catch((error: unknown) => {
        counts.forget();
        throw error;
      }),
    readSweepLag: () => sweep.lagSeconds(),
    readEndingLag: () => grantEndings.lagSeconds(),
    readKeys: () => keys.list(),
    readFeeds: () => feeds.figures(),
    readLeases: () => leases.figures(),
    keySetReadings: () => keySets.readings(),
  });
}

function createWorker(
  { db, clock, log }: Base,
  services: Services,
  { metrics, holder = `${hostname()}/${process.pid}` }: { metrics: Metrics; holder: string | undefined },
): Worker {
  const { sweep: grants, feeds, targetJobs: targets } = services;
  const jobs = createJobs({ db, grants, feeds, keys: services.rotation, targets });
  const scheduler = createScheduler({
    jobs,
    db,
    clock,
    log,
    holder,
    observe: ({ job, ...run }) => metrics.job(job, run),
  });
  const { leaseEnder } = services;
  return {
    ...scheduler,
    endLeases: leaseEnder.runNow,
    async start() {
      await scheduler.start();
      leaseEnder.start();
    },
    async stop() {
      await Promise.all([leaseEnder.stop(), scheduler.stop()]);
    },
  };
}

async function closeConnections(base: Base): Promise<void> {
  const { database, hot, ending, gateway, outbound, upstreamClient } = base;
  const closing = [database, hot, ending, gateway, outbound, upstreamClient];
  await Promise.all(closing.map((each) => each.close()));
}

/** Wires a broker, in the same way for production, tests and benchmarks. The database must have been migrated. */
export async function compose(config: BrokerConfig, overrides: Overrides = {}): Promise<Broker> {
  const base = createBase(config, overrides);
  const { clock, log, db } = base;
  const services = createServices(base);
  const bootstrapped = await prepare(base, services).catch(async (error: unknown) => {
    await closeConnections(base);
    throw error;
  });
  const metrics = createMetricsOf(base, services);
  const strangers = new StrangerCounts();
  const keyAuthentication = createKeyAuthentication({ db, clock });
  let stopping = false;
  const edge: Edge = {
    metrics,
    strangers,
    keyAuthentication,
    isStopping: () => stopping,
    overrides,
    countStranger: (address, token) => strangers.count(address, token),
    observe: (operation, outcome) => metrics.token(operation, outcome),
  };
  const app = createListener(base, services, edge);
  const gateway = createGatewayOf(base, services, edge);
  const onError = (error: unknown): void =>
    log.warn('the refusals and the uses of admin keys of this minute could not be written', { err: error });
  const flush = async (): Promise<void> => {
    await services.auditService.recordStrangers(strangers.take()).catch(onError);
    await keyAuthentication.flush().catch(onError);
  };
  const flushing = repeat({ clock, intervalMs: minuteMs, run: flush, onError });
  return {
    app,
    gateway: gateway?.listener,
    metrics: metrics.listener,
    bootstrapped,
    worker: createWorker(base, services, { metrics, holder: overrides.holder }),
    async beginShutdown() {
      stopping = true;
      await services.watch.end();
    },
    async close() {
      await flushing.stop();
      await flush();
      await Promise.all([gateway?.openCalls.stop(), services.calls.stop()]);
      await services.grantEndings.stop();
      await services.targets.close();
      await closeConnections(base);
    },
  };
}
