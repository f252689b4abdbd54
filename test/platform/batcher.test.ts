import { describe, expect, it } from 'vitest';
import { statementBatches } from '../../src/db/statement-batches.ts';
import { BrokerError } from '../../src/errors.ts';
import { Batcher, type BatcherOptions } from '../../src/platform/batcher.ts';
import { createTurns } from '../../src/platform/turns.ts';
import { codeOf } from '../oauth/refusals.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
const turns = createTurns(clock);

const outage = (): Error => Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
/** Waits until the callers of finished statements have their results and queued rows have started. */
async function turn(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

interface Statement {
  rows: number[];
  finish: () => void;
  fail: (error: unknown) => void;
}

/** Creates a batcher whose statements end when the test ends them. Each statement doubles its rows. */
function held(options: Partial<BatcherOptions<number, number>> = {}) {
  const statements: Statement[] = [];
  const run = (rows: number[]): Promise<number[]> =>
    new Promise((resolve, reject) => {
      statements.push({ rows, finish: () => resolve(rows.map((row) => row * 2)), fail: reject });
    });
  const batcher = new Batcher({ ...statementBatches, turns, run, ...options });
  return { batcher, statements };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('a batcher', () => {
  it('combines concurrent rows into one statement, and gives each caller its own result', async () => {
    const { batcher, statements } = held();
    const results = Promise.all(range(20).map((row) => batcher.submit(row)));
    await turn();
    expect(statements.map(({ rows }) => rows)).toEqual([range(20)]);
    statements[0]?.finish();
    expect(await results).toEqual(range(20).map((row) => row * 2));
  });

  it('resolves no row before its statement has ended', async () => {
    const { batcher, statements } = held({ maxRows: 1 });
    const answered: number[] = [];
    const first = batcher.submit(1).then((result) => answered.push(result));
    const second = batcher.submit(2).then((result) => answered.push(result));
    await turn();
    statements[1]?.finish();
    await second;
    expect(answered).toEqual([4]);
    statements[0]?.finish();
    await first;
    expect(answered).toEqual([4, 2]);
  });

  it('runs a limited number of statements with a limited number of rows at a time, and queues the rest', async () => {
    const { batcher, statements } = held({ maxRows: 3, maxInFlight: 2 });
    const results = Promise.all(range(10).map((row) => batcher.submit(row)));
    await turn();
    expect(statements.map(({ rows }) => rows)).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ]);
    statements[0]?.finish();
    await turn();
    expect(statements.map(({ rows }) => rows.length)).toEqual([3, 3, 3]);
    statements[1]?.finish();
    statements[2]?.finish();
    await turn();
    statements[3]?.finish();
    expect(await results).toEqual(range(10).map((row) => row * 2));
  });

  it('refuses rows when the queue is full, and accepts rows again afterwards', async () => {
    const { batcher, statements } = held({ maxRows: 1, maxInFlight: 1, maxQueue: 2 });
    const kept = [batcher.submit(1), batcher.submit(2)];
    const shed = batcher.submit(3);
    expect(await codeOf(shed)).toBe('overloaded');
    await expect(shed).rejects.toMatchObject({ retryAfterSeconds: 1 });
    await turn();
    statements[0]?.finish();
    expect(await kept[0]).toBe(2);
    const late = batcher.submit(4);
    await turn();
    statements[1]?.finish();
    expect(await kept[1]).toBe(4);
    await turn();
    statements[2]?.finish();
    expect(await late).toBe(8);
  });

  it('fails only the bad row of a batch', async () => {
    const seen: number[][] = [];
    const run = async (rows: number[]): Promise<number[]> => {
      seen.push(rows);
      if (rows.includes(7)) throw new Error('poison');
      return rows;
    };
    const batcher = new Batcher({ ...statementBatches, turns, run });
    const settled = await Promise.allSettled(range(20).map((row) => batcher.submit(row)));
    const failed = settled.flatMap((one, row) =>
      one.status === 'rejected' ? [[row, String(one.reason)]] : [],
    );
    expect(failed).toEqual([[7, 'Error: poison']]);
    expect(seen).toEqual([range(20), ...range(20).map((row) => [row])]);
  });

  it('does not retry row by row in an outage', async () => {
    let runs = 0;
    const run = async (): Promise<number[]> => {
      runs += 1;
      throw outage();
    };
    const batcher = new Batcher<number, number>({ ...statementBatches, turns, run });
    const settled = await Promise.allSettled(range(20).map((row) => batcher.submit(row)));
    expect(settled.every(({ status }) => status === 'rejected')).toBe(true);
    expect(runs).toBe(1);
  });

  it('fails the rest of a batch when an outage begins while it is retried row by row', async () => {
    let runs = 0;
    const run = async (rows: number[]): Promise<number[]> => {
      runs += 1;
      if (rows.length > 1) throw new Error('poison');
      if (runs > 4) throw outage();
      return rows;
    };
    const batcher = new Batcher({ ...statementBatches, turns, run });
    const settled = await Promise.allSettled(range(20).map((row) => batcher.submit(row)));
    expect(settled.map(({ status }) => status)).toEqual(
      range(20).map((row) => (row < 3 ? 'fulfilled' : 'rejected')),
    );
    expect(runs).toBe(5);
  });

  it('continues after failures of every kind', async () => {
    const failures: Error[] = [new Error('poison'), outage(), new BrokerError('internal')];
    const run = async (rows: number[]): Promise<number[]> => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return rows;
    };
    const batcher = new Batcher({ ...statementBatches, turns, run });
    for (const _ of range(3)) await expect(batcher.submit(1)).rejects.toThrow();
    expect(await batcher.submit(2)).toBe(2);
  });
});

describe('a long turn of the event loop', () => {
  it('does not delay the statement of a single row until its end', async () => {
    const { batcher, statements } = held();
    const answer = batcher.submit(7);
    clock.advance(0.01);
    turns.flushIfLate();
    expect(statements.map(({ rows }) => rows)).toEqual([[7]]);
    statements[0]?.finish();
    expect(await answer).toBe(14);
  });
});
