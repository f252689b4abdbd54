import type { RequestListener } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { shareRuns } from '../platform/share-runs.ts';

/** Figures of the connections to the database, now. */
export interface PoolFigures {
  total: number;
  idle: number;
  waiting: number;
}

export interface MetricsDeps {
  pools: Record<string, () => PoolFigures>;
  /** Read at a scrape: how many open grants there are, by what they are now. */
  readGrants: () => Promise<Record<string, number>>;
  /** Read at a scrape, and cheap: whether the database answers is told by it, too. */
  readSweepLag: () => Promise<number>;
  /** Read at a scrape: the signing keys. */
  readKeys: () => Promise<{ alg: string; state: string; activatedAt: Date | null }[]>;
  /** Readings of the keys of others since the start, by outcome. */
  keySetReadings: () => ReadonlyMap<string, number>;
}

export interface Metrics {
  request(operation: string, status: number, durationMs: number): void;
  token(operation: string, outcome: string): void;
  /** A request that was refused because its address, or its caller, asks too often. */
  rateLimited(scope: 'address' | 'caller'): void;
  job(name: string, run: { outcome: string; durationMs: number; rows: number }): void;
  /** Answers every request with the figures in Prometheus' text format. */
  listener: RequestListener;
}

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 60];

function createRequestInstruments(registers: Registry[]) {
  return {
    requests: new Counter({
      name: 'hallpass_http_requests_total',
      help: 'Answered requests by operation and status (499: the client went away)',
      labelNames: ['operation', 'status'],
      registers,
    }),
    latency: new Histogram({
      name: 'hallpass_http_request_duration_seconds',
      help: 'Time from the request to the end of its answer',
      labelNames: ['operation'],
      buckets: secondsBuckets,
      registers,
    }),
    tokens: new Counter({
      name: 'hallpass_oauth_answers_total',
      help: 'Answers of the token, introspection and revocation endpoints by outcome (success or the error code)',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    rateLimited: new Counter({
      name: 'hallpass_rate_limited_total',
      help: 'Requests that were refused because their address or caller asks too often',
      labelNames: ['scope'],
      registers,
    }),
  };
}

function createJobInstruments(registers: Registry[]) {
  return {
    jobRuns: new Counter({
      name: 'hallpass_job_runs_total',
      help: 'Runs of the jobs by outcome',
      labelNames: ['job', 'outcome'],
      registers,
    }),
    jobRows: new Counter({
      name: 'hallpass_job_rows_total',
      help: 'Rows that the jobs changed',
      labelNames: ['job'],
      registers,
    }),
    jobSeconds: new Histogram({
      name: 'hallpass_job_duration_seconds',
      help: 'How long runs of the jobs took',
      labelNames: ['job'],
      buckets: secondsBuckets,
      registers,
    }),
    jobSuccess: new Gauge({
      name: 'hallpass_job_last_success_timestamp_seconds',
      help: 'When this replica last ran the job without failure',
      labelNames: ['job'],
      registers,
    }),
  };
}

function registerPools(pools: MetricsDeps['pools'], registers: Registry[]): void {
  new Gauge({
    name: 'hallpass_db_connections',
    help: 'Connections to the database by pool and state; waiting: requests that wait for one',
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
    help: 'Readings of the keys of agents and trusted issuers over the network, by outcome: read, or what went wrong',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of readings()) this.inc({ outcome }, count);
    },
  });
}

/** A gauge that is read from the database at a scrape; `fill` sets its values. */
interface Reading {
  name: string;
  help: string;
  labelNames: string[];
  fill: (gauge: Gauge) => Promise<void>;
}

function readingsOf({ readGrants, readKeys, readSweepLag }: MetricsDeps): Reading[] {
  return [
    {
      name: 'hallpass_sweep_lag_seconds',
      help: 'How long the oldest grant that is over has waited for the worker to write that down',
      labelNames: [],
      fill: async (gauge) => gauge.set(await readSweepLag()),
    },
    {
      name: 'hallpass_grants',
      help: 'Grants that have not been written down as ended, by what they are now',
      labelNames: ['status'],
      async fill(gauge) {
        for (const [status, count] of Object.entries(await readGrants())) gauge.set({ status }, count);
      },
    },
    {
      name: 'hallpass_signing_key_activated_timestamp_seconds',
      help: 'Since when the active signing key of an algorithm signs',
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
 * What cannot be read is left out and the rest is served: while the database is away, the other figures are what an
 * operator has.
 */
function registerReadings(deps: MetricsDeps, registers: Registry[]): void {
  // A scrape collects several at the same time.
  const readSweepLag = shareRuns(deps.readSweepLag);
  for (const { fill, ...names } of readingsOf({ ...deps, readSweepLag })) {
    const forget = (gauge: Gauge): void => {
      gauge.reset();
      // Without labels, `reset` leaves a 0, which would be a figure.
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

/** Every figure of one broker, in a registry of its own. */
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
    rateLimited: (scope) => instruments.rateLimited.inc({ scope }),
    job(job, { outcome, durationMs, rows }) {
      instruments.jobRuns.inc({ job, outcome });
      // An attempt that found the slot taken did nothing that could take time.
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
