import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 60];

/** Creates the metrics of requests, which are counted as they happen. */
export function createRequestInstruments(registers: Registry[]) {
  return {
    requests: new Counter({
      name: 'hallpass_http_requests_total',
      help: 'Requests by operation and status (499: the client disconnected)',
      labelNames: ['operation', 'status'],
      registers,
    }),
    latency: new Histogram({
      name: 'hallpass_http_request_duration_seconds',
      help: 'Time from the request to the end of its response',
      labelNames: ['operation'],
      buckets: secondsBuckets,
      registers,
    }),
    tokens: new Counter({
      name: 'hallpass_oauth_answers_total',
      help: 'Responses of the token, introspection and revocation endpoints by outcome (success or the error code)',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    calls: new Counter({
      name: 'hallpass_gateway_calls_total',
      help: 'Calls at the gateway by outcome (how the call ended, or the error code of a refusal)',
      labelNames: ['outcome'],
      registers,
    }),
    rateLimited: new Counter({
      name: 'hallpass_rate_limited_total',
      help: 'Requests that exceeded the rate limit of their address or caller',
      labelNames: ['scope'],
      registers,
    }),
  };
}

/** Creates the metrics of job runs. */
export function createJobInstruments(registers: Registry[]) {
  return {
    jobRuns: new Counter({
      name: 'hallpass_job_runs_total',
      help: 'Job runs by outcome',
      labelNames: ['job', 'outcome'],
      registers,
    }),
    jobRows: new Counter({
      name: 'hallpass_job_rows_total',
      help: 'Rows changed by jobs',
      labelNames: ['job'],
      registers,
    }),
    jobSeconds: new Histogram({
      name: 'hallpass_job_duration_seconds',
      help: 'Duration of job runs',
      labelNames: ['job'],
      buckets: secondsBuckets,
      registers,
    }),
    jobSuccess: new Gauge({
      name: 'hallpass_job_last_success_timestamp_seconds',
      help: 'Time when this replica last ran the job successfully',
      labelNames: ['job'],
      registers,
    }),
  };
}
