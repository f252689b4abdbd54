import type { Turns } from './turns.ts';

interface Entry<Row, Result> {
  row: Row;
  resolve: (result: Result) => void;
  reject: (error: unknown) => void;
}

export interface BatcherOptions<Row, Result> {
  turns: Pick<Turns, 'afterTurn'>;
  /** Runs one statement for all rows. Returns a result for each row, in the same order. */
  run: (rows: Row[]) => Promise<Result[]>;
  /** Whether a statement failed for a reason that its rows have nothing to do with. */
  isOutage: (error: unknown) => boolean;
  /** Thrown when the queue is full. One object for all, because under overload a refusal must not cost a stack trace. */
  overloaded: Error;
  maxRows?: number;
  maxInFlight?: number;
  maxQueue?: number;
}

function rejectAll<Row, Result>(entries: Entry<Row, Result>[], error: unknown): void {
  for (const { reject } of entries) reject(error);
}

/**
 * At this many rows the statement starts before the end of the turn of the event loop, so that the database can begin
 * early.
 */
const eagerRows = 24;

/**
 * Combines the rows of concurrent requests into statements of at most `maxRows` rows. At most `maxInFlight`
 * statements run at a time; further rows wait in a queue of at most `maxQueue`. If a statement fails, each of its
 * rows is retried alone, so that one bad row does not affect the others; not in an outage, in which each of them
 * would fail.
 */
export class Batcher<Row, Result> {
  readonly #run: BatcherOptions<Row, Result>['run'];
  readonly #turns: BatcherOptions<Row, Result>['turns'];
  readonly #limits: { maxRows: number; maxInFlight: number; maxQueue: number };
  readonly #isOutage: BatcherOptions<Row, Result>['isOutage'];
  readonly #overloaded: Error;
  #queue: Entry<Row, Result>[] = [];
  #inFlight = 0;
  #scheduled = false;

  constructor(options: BatcherOptions<Row, Result>) {
    const { maxRows = 256, maxInFlight = 2, maxQueue = 4096 } = options;
    this.#run = options.run;
    this.#turns = options.turns;
    this.#isOutage = options.isOutage;
    this.#overloaded = options.overloaded;
    this.#limits = { maxRows, maxInFlight, maxQueue };
  }

  /**
   * Throws the error `overloaded` if the queue is full. `submit` checks this too; a caller may check it before it does other
   * work.
   */
  assertRoom(): void {
    if (this.#queue.length >= this.#limits.maxQueue) throw this.#overloaded;
  }

  /** Resolves to the result of the row after its statement has committed. Throws the error `overloaded`. */
  submit(row: Row): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.assertRoom();
      this.#queue.push({ row, resolve, reject });
      if (this.#queue.length >= eagerRows) this.#flush();
      else this.#schedule();
    });
  }

  /** Starts the statement at the end of this turn of the event loop, so that the requests of the turn share it. */
  #schedule(): void {
    if (this.#scheduled || this.#inFlight >= this.#limits.maxInFlight) return;
    this.#scheduled = true;
    this.#turns.afterTurn(() => this.#flush());
  }

  #flush(): void {
    const { maxRows, maxInFlight } = this.#limits;
    this.#scheduled = false;
    while (this.#inFlight < maxInFlight && this.#queue.length > 0) {
      const batch = this.#queue.slice(0, maxRows);
      this.#queue = this.#queue.slice(maxRows);
      this.#inFlight += 1;
      void this.#runBatch(batch).finally(() => {
        this.#inFlight -= 1;
        this.#flush();
      });
    }
  }

  async #runBatch(entries: Entry<Row, Result>[]): Promise<void> {
    try {
      const results = await this.#run(entries.map(({ row }) => row));
      for (const [index, { resolve }] of entries.entries()) resolve(results[index] as Result);
    } catch (error) {
      if (entries.length > 1 && !this.#isOutage(error)) await this.#runEach(entries);
      else rejectAll(entries, error);
    }
  }

  async #runEach(entries: Entry<Row, Result>[]): Promise<void> {
    for (const [index, { row, resolve, reject }] of entries.entries()) {
      try {
        const [result] = await this.#run([row]);
        resolve(result as Result);
      } catch (error) {
        reject(error);
        if (!this.#isOutage(error)) continue;
        rejectAll(entries.slice(index + 1), error);
        return;
      }
    }
  }
}
