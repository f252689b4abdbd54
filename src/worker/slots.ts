import { parse } from 'node-cron';

const dayMs = 24 * 3600 * 1000;

/**
 * The slots of a cron expression with seconds, in UTC: answers a function that gives the first one after an instant.
 * Days, months and weekdays must be `*`: a job runs every day. In UTC every day has the same slots, so none falls
 * away or comes twice with summer time, whatever zone the machine is in. Throws if the expression is not valid.
 */
export function slotsOf(schedule: string): (after: Date) => Date {
  const { second, minute, hour, dayOfMonth, month, dayOfWeek } = parse(schedule);
  if (dayOfMonth.length < 31 || month.length < 12 || dayOfWeek.length < 7) {
    throw new Error(`a job runs every day, which "${schedule}" does not say`);
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
