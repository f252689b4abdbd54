/** The names of the accounts whose leases the benchmark inserts begin with this, and end with their number from 1 on. */
export const benchAccountPrefix = 'hp_bench_';

/** The calls of an engine that end an account. */
export const endingCalls = ['disableAccess', 'endSessions', 'cleanUp'] as const;
