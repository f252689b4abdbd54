/** Every job and when it runs: cron expressions with seconds, UTC. */
export const schedules = {
  'expire-grants': '*/10 * * * * *',
  'lapse-requests': '*/30 * * * * *',
  'rotate-keys': '0 * * * * *',
  'make-partitions': '0 0 * * * *',
  'drop-partitions': '0 17 3 * * *',
  'drop-idempotency-records': '0 */10 * * * *',
} as const satisfies Record<string, string>;

export type JobName = keyof typeof schedules;
