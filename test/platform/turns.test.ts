import { describe, expect, it } from 'vitest';
import { createTurns } from '../../src/platform/turns.ts';
import { FakeClock } from '../support/fake-clock.ts';

const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function start() {
  const clock = new FakeClock();
  const turns = createTurns(clock);
  const ran: number[] = [];
  return { clock, turns, ran, put: (n: number) => turns.afterTurn(() => ran.push(n)) };
}

describe('work that is deferred to the end of a turn', () => {
  it('runs then, once and in order', async () => {
    const { ran, put } = start();
    for (const n of [1, 2, 3]) put(n);
    await Promise.resolve();
    expect(ran).toEqual([]);
    await endOfTurn();
    expect(ran).toEqual([1, 2, 3]);
    await endOfTurn();
    expect(ran).toEqual([1, 2, 3]);
  });

  it('runs within a long turn, at the first call of flushIfLate after 10 ms, and not again at its end', async () => {
    const { clock, turns, ran, put } = start();
    put(1);
    clock.advance(0.009);
    turns.flushIfLate();
    expect(ran).toEqual([]);
    put(2);
    clock.advance(0.001);
    turns.flushIfLate();
    expect(ran).toEqual([1, 2]);
    put(3);
    turns.flushIfLate();
    expect(ran).toEqual([1, 2]);
    await endOfTurn();
    await endOfTurn();
    expect(ran).toEqual([1, 2, 3]);
  });

  it('may defer further work', async () => {
    const { turns, ran, put } = start();
    turns.afterTurn(() => put(1));
    await endOfTurn();
    await endOfTurn();
    expect(ran).toEqual([1]);
  });
});
