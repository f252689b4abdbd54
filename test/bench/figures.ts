/** Reads the number in the environment variable `BENCH_<name>`, so that a smoke run can reduce every size. */
export function setting(name: string, fallback: number): number {
  const value = Number(process.env[`BENCH_${name}`] ?? fallback);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`BENCH_${name} must be a number above 0`);
  return value;
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);

/**
 * Returns a quantile of unsorted values: the value at index `floor(n * share)` of the n sorted values, or the largest. 0 if the array
 * is empty.
 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Prints a value beside its target, and whether it meets the target. A miss does not fail the run, because the machine may be busy. */
export function printTarget(
  what: string,
  value: number,
  target: { atLeast?: number; atMost?: number },
): void {
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = target;
  const bound = target.atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
  const verdict = value >= atLeast && value <= atMost ? 'met' : 'MISSED';
  print(`${what}: ${value.toFixed(2)} (target ${bound}: ${verdict})`);
}

export const rate = (perSecond: number): string => `${perSecond.toFixed(0).padStart(7)} /s`;
export const ms = (value: number): string => `${value.toFixed(1)} ms`;
/** Formats a number of bytes in units of 2^20. */
export const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** Reports that the broker behaved wrongly, not slowly. The benchmark continues, and its process exits with status 1. */
export function fail(problem: string): void {
  print(`FAILED: ${problem}`);
  process.exitCode = 1;
}
