import { isOutage } from '../db/sqlstate.ts';
import { BrokerError } from '../errors.ts';

/** Joins the work of requests that come at about the same time into few statements. */
export interface Batcher<Row, Result> {
  /** Resolves to the row's own result, after its statement has committed. Throws `unavailable` when too much waits. */
  submit(row: Row): Promise<Result>;
}

interface Entry<Row, Result> {
  row: Row;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

export interface BatcherOptions<Row, Result> {
  /** Runs one statement for all rows; answers a result for each, in their order. */
  run: (rows: Row[]) => Promise<Result[]>;
  maxRows?: number;
  maxInFlight?: number;
  maxQueue?: number;
}

/**
 * At most `maxInFlight` statements of at most `maxRows` rows at a time; what comes meanwhile waits for the next, up to
 * `maxQueue`. A statement that fails is tried again row by row, so that one poisoned row harms nobody beside it.
 */
export function createBatcher<Row, Result>(options: BatcherOptions<Row, Result>): Batcher<Row, Result> {
  const { run, maxRows = 256, maxInFlight = 2, maxQueue = 4096 } = options;
  let queue: Entry<Row, Result>[] = [];
  let inFlight = 0;
  let scheduled = false;

  async function runEach(entries: Entry<Row, Result>[]): Promise<void> {
    for (const { row, resolve, reject } of entries) {
      try {
        const [result] = await run([row]);
        resolve(result as Result);
      } catch (error) {
        reject(error);
      }
    }
  }

  async function runBatch(entries: Entry<Row, Result>[]): Promise<void> {
    try {
      const results = await run(entries.map(({ row }) => row));
      for (const [index, { resolve }] of entries.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (entries.length > 1 && !isOutage(error)) await runEach(entries);
      else for (const { reject } of entries) reject(error);
    }
  }

  function flush(): void {
    scheduled = false;
    while (inFlight < maxInFlight && queue.length > 0) {
      const batch = queue.slice(0, maxRows);
      queue = queue.slice(maxRows);
      inFlight += 1;
      void runBatch(batch).finally(() => {
        inFlight -= 1;
        if (queue.length > 0) schedule();
      });
    }
  }

  // After the requests that this turn of the event loop brought, so that they share a statement.
  function schedule(): void {
    if (scheduled || inFlight >= maxInFlight) return;
    scheduled = true;
    setImmediate(flush);
  }

  return {
    submit: (row) =>
      new Promise((resolve, reject) => {
        if (queue.length >= maxQueue) {
          reject(new BrokerError('unavailable', { detail: 'overloaded', retryAfterSeconds: 1 }));
          return;
        }
        queue.push({ row, resolve, reject });
        schedule();
      }),
  };
}
