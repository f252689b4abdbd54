import type { RequestListener } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { shareRuns } from '../platform/share-runs.ts';
import { createJobInstruments, createRequestInstruments } from './instruments.ts';

/** The current number of connections to the database. */
export interface PoolFigures {
  total: number;
  idle: number;
  waiting: number;
}

export interface MetricsDeps {
  pools: Record<string, () => PoolFigures>;
  /** Counts the open grants by their current status, at each scrape. */
  readGrants: () => Promise<Record<string, number>>;
  /** Reads the sweep lag, at each scrape. Must be cheap, because it also shows whether the database is reachable. */
  readSweepLag: () => Promise<number>;
  /** Reads the age of the oldest queued ending, at each scrape. */
  readEndingLag: () => Promise<number>;
  /** Reads the signing keys, at each scrape. */
  readKeys: () => Promise<{ alg: string; state: string; activatedAt: Date | null }[]>;
  /** Reads the progress of the feeds through the audit log, at each scrape. */
  readFeeds: () => Promise<{ name: string; lagSeconds: number; gaps: number }[]>;
  /** Reads the figures about leases and their targets, at each scrape. */
  readLeases: () => Promise<{
    byStatus: Record<string, number>;
    endingLagSeconds: number;
    failingTargets: number;
  }>;
  /** Returns the number of reads of other parties' key sets since the start, by outcome. */
  keySetReadings: () => ReadonlyMap<string, number>;
}

export interface Metrics {
  request(operation: string, status: number, durationMs: number): void;
  token(operation: string, outcome: string): void;
  /** Counts a call at the gateway, by how it ended or the code of its refusal. */
  call(outcome: string): void;
  /** Counts a request that exceeded the rate limit of its address or caller. */
  rateLimited(scope: 'address' | 'caller'): void;
  job(name: string, run: { outcome: string; durationMs: number; rows: number }): void;
  /** Responds to every request with the metrics in Prometheus' text format. */
  listener: RequestListener;
}

function registerPools(pools: MetricsDeps['pools'], registers: Registry[]): void {
  new Gauge({
    name: 'hallpass_db_connections',
    help: 'Database connections by pool and state (waiting: requests that wait for a connection)',
    labelNames: ['pool', 'state'],
    registers,
    collect() {
      for (const [pool, read] of Object.entries(pools)) {
        const { total, idle, waiting } = read();
        this.set({ pool, state: 'busy' }, total - idle);
        this.set({ pool, state: 'idle' }, idle);
        this.set({ pool, state: 'waiting' }, waiting);
      }
    },
  });
}

function registerKeySets(readings: MetricsDeps['keySetReadings'], registers: Registry[]): void {
  new Counter({
    name: 'hallpass_key_set_readings_total',
    help: 'Reads of the key sets of agents and trusted issuers by outcome (read, or the problem)',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of readings()) this.inc({ outcome }, count);
    },
  });
}

/** A gauge that is read from the database at each scrape. `fill` sets its values. */
interface Reading {
  name: string;
  help: string;
  labelNames: string[];
  fill: (gauge: Gauge) => Promise<void>;
}

function readingsOfFeeds({ readFeeds }: MetricsDeps): Reading[] {
  return [
    {
      name: 'hallpass_feed_lag_seconds',
      help: 'Age of the oldest audit event that the feed has not read; 0 if it has read all',
      labelNames: ['feed'],
      async fill(gauge) {
        for (const { name, lagSeconds } of await readFeeds()) gauge.set({ feed: name }, lagSeconds);
      },
    },
    {
      name: 'hallpass_feed_gaps',
      help: 'Partitions of the audit log that were dropped before the feed had read them completely',
      labelNames: ['feed'],
      async fill(gauge) {
        for (const { name, gaps } of await readFeeds()) gauge.set({ feed: name }, gaps);
      },
    },
  ];
}

function readingsOfLeases({ readLeases }: MetricsDeps): Reading[] {
  return [
    {
      name: 'hallpass_leases',
      help: 'Leases whose account is not removed, by status',
      labelNames: ['status'],
      async fill(gauge) {
        for (const [status, count] of Object.entries((await readLeases()).byStatus))
          gauge.set({ status }, count);
      },
    },
    {
      name: 'hallpass_lease_ending_lag_seconds',
      help: 'Time by which the access of a lease has outlived the lease, for the one that has waited longest',
      labelNames: [],
      fill: async (gauge) => gauge.set((await readLeases()).endingLagSeconds),
    },
    {
      name: 'hallpass_failing_targets',
      help: 'Targets whose last test found problems',
      labelNames: [],
      fill: async (gauge) => gauge.set((await readLeases()).failingTargets),
    },
  ];
}

function readingsOf({ readGrants, readKeys, readSweepLag, readEndingLag }: MetricsDeps): Reading[] {
  return [
    {
      name: 'hallpass_sweep_lag_seconds',
      help: 'Time since the oldest expired grant that is not yet written as expired has expired',
      labelNames: [],
      fill: async (gauge) => gauge.set(await readSweepLag()),
    },
    {
      name: 'hallpass_ending_lag_seconds',
      help: 'Age of the oldest queued ending whose grants are not all written as ended; 0 if the queue is empty',
      labelNames: [],
      fill: async (gauge) => gauge.set(await readEndingLag()),
    },
    {
      name: 'hallpass_grants',
      help: 'Grants that are not written as ended, by current status',
      labelNames: ['status'],
      async fill(gauge) {
        for (const [status, count] of Object.entries(await readGrants())) gauge.set({ status }, count);
      },
    },
    {
      name: 'hallpass_signing_key_activated_timestamp_seconds',
      help: 'Time when the active signing key of an algorithm was activated',
      labelNames: ['alg'],
      async fill(gauge) {
        for (const { alg, state, activatedAt } of await readKeys()) {
          if (state === 'active' && activatedAt !== null) gauge.set({ alg }, activatedAt.getTime() / 1000);
        }
      },
    },
  ];
}

/**
 * Registers the gauges that are read from the database. A gauge that cannot be read has no value, and the others are
 * served: they are what an operator needs most while the database is down.
 */
function registerReadings(deps: MetricsDeps, registers: Registry[]): void {
  // Several gauges use these, and a scrape reads them concurrently.
  const readSweepLag = shareRuns(deps.readSweepLag);
  const readFeeds = shareRuns(deps.readFeeds);
  const shared = { ...deps, readSweepLag, readFeeds, readLeases: shareRuns(deps.readLeases) };
  const readings = [...readingsOf(shared), ...readingsOfFeeds(shared), ...readingsOfLeases(shared)];
  for (const { fill, ...names } of readings) {
    const forget = (gauge: Gauge): void => {
      gauge.reset();
      // Without labels, `reset` leaves the value 0, which would be wrong.
      if (names.labelNames.length === 0) gauge.remove();
    };
    new Gauge({
      ...names,
      registers,
      async collect() {
        forget(this);
        await fill(this).catch(() => forget(this));
      },
    });
  }
  new Gauge({
    name: 'hallpass_database_up',
    help: 'Whether the database answered this scrape: 1 or 0',
    registers,
    async collect() {
      const up = await readSweepLag().then(
        () => 1,
        () => 0,
      );
      this.set(up);
    },
  });
}

/** Creates the metrics of one broker, in a registry of its own. */
export function createMetrics(deps: MetricsDeps): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const instruments = { ...createRequestInstruments(registers), ...createJobInstruments(registers) };
  registerPools(deps.pools, registers);
  registerKeySets(deps.keySetReadings, registers);
  registerReadings(deps, registers);
  return {
    request(operation, status, durationMs) {
      instruments.requests.inc({ operation, status });
      instruments.latency.observe({ operation }, durationMs / 1000);
    },
    token: (operation, outcome) => instruments.tokens.inc({ operation, outcome }),
    call: (outcome) => instruments.calls.inc({ outcome }),
    rateLimited: (scope) => instruments.rateLimited.inc({ scope }),
    job(job, { outcome, durationMs, rows }) {
      instruments.jobRuns.inc({ job, outcome });
      // The other outcomes ran nothing, so they have no duration.
      if (outcome !== 'done' && outcome !== 'failed') return;
      instruments.jobRows.inc({ job }, rows);
      instruments.jobSeconds.observe({ job }, durationMs / 1000);
      if (outcome === 'done') instruments.jobSuccess.setToCurrentTime({ job });
    },
    listener(_request, response) {
      registry.metrics().then(
        (text) => response.writeHead(200, { 'Content-Type': registry.contentType }).end(text),
        () => response.writeHead(503).end(),
      );
    },
  };
}
