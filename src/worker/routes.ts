import type { Handlers } from '../http/operation.ts';
import type { JobStatus, WorkerService } from './service.ts';

function present(job: JobStatus) {
  return {
    name: job.name,
    schedule: job.schedule,
    last_slot: job.lastSlot?.toISOString() ?? null,
    last_started_at: job.lastStartedAt?.toISOString() ?? null,
    last_finished_at: job.lastFinishedAt?.toISOString() ?? null,
    last_duration_ms: job.lastDurationMs,
    last_rows: job.lastRows,
    last_error: job.lastError,
    consecutive_failures: job.consecutiveFailures,
    running: job.running,
  };
}

export function workerRoutes({ worker }: { worker: WorkerService }): Pick<Handlers, 'listJobs'> {
  return {
    async listJobs() {
      return { status: 200, body: { items: (await worker.list()).map(present) } };
    },
  };
}
