import { parse } from 'node-cron';

const dayMs = 24 * 3600 * 1000;

/**
 * Parses a cron expression with seconds, in UTC. Returns a function that computes the first slot after a time. Days,
 * months and weekdays must be `*`, so that every day has the same slots; summer time in the machine's zone has no
 * effect. Throws if the expression is not valid.
 */
export function slotsOf(schedule: string): (after: Date) => Date {
  const { second, minute, hour, dayOfMonth, month, dayOfWeek } = parse(schedule);
  if (dayOfMonth.length < 31 || month.length < 12 || dayOfWeek.length < 7) {
    throw new Error(`the schedule "${schedule}" must include every day`);
  }
  const offsets = hour
    .flatMap((h) => minute.flatMap((m) => second.map((s) => ((h * 60 + m) * 60 + s) * 1000)))
    .sort((a, b) => a - b);
  return (after) => {
    const sinceMidnight = after.getTime() % dayMs;
    const midnight = after.getTime() - sinceMidnight;
    const next = offsets.find((offset) => offset > sinceMidnight) ?? dayMs + (offsets[0] ?? 0);
    return new Date(midnight + next);
  };
}
