/** The schedule of every job: cron expressions with seconds, in UTC. */
export const schedules = {
  'expire-grants': '*/10 * * * * *',
  'lapse-requests': '*/30 * * * * *',
  'read-feeds': '*/5 * * * * *',
  'rotate-keys': '0 * * * * *',
  'test-targets': '45 * * * * *',
  'reconcile-targets': '15 * * * * *',
  'clean-up-targets': '30 * * * * *',
  'rotate-target-passwords': '*/10 * * * * *',
  'make-partitions': '0 0 * * * *',
  'drop-partitions': '0 17 3 * * *',
  'drop-idempotency-records': '0 */10 * * * *',
} as const satisfies Record<string, string>;

export type JobName = keyof typeof schedules;
