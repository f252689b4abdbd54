import { describe, expect, it } from 'vitest';
import { type CutReason, OpenCalls } from '../../src/gateway/open-calls.ts';
import type { TokenKey } from '../../src/tokens/verified-tokens.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Lets everything run that waits for nothing from outside. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

function start() {
  const clock = new FakeClock();
  const ended = new Set<string>();
  const reads: string[][] = [];
  const errors: unknown[] = [];
  const database = { answer: 'at once' as 'at once' | 'never' | 'error' };
  const openCalls = new OpenCalls({
    clock,
    onError: (error) => errors.push(error),
    mayGoOn(keys) {
      reads.push(keys.map(({ jti }) => jti ?? ''));
      if (database.answer === 'never') return new Promise(() => {});
      if (database.answer === 'error') return Promise.reject(new Error('down'));
      return Promise.resolve(keys.map(({ jti }) => !ended.has(jti ?? '')));
    },
  });
  const cuts: [string, CutReason][] = [];
  const open = (jti: string) => {
    const key: TokenKey = { jti, exp: 1, kid: 'key' };
    return openCalls.add({ key, agentId: 'agt_1', cut: (reason) => cuts.push([jti, reason]) });
  };
  const advance = async (seconds: number): Promise<void> => {
    for (let passed = 0; passed < seconds; passed += 0.25) {
      clock.advance(0.25);
      await settle();
    }
  };
  return { clock, ended, reads, errors, database, openCalls, cuts, open, advance };
}

describe('calls whose response is not complete', () => {
  it('are cut within 250 ms of the end of their grant, and no others', async () => {
    const { ended, cuts, open, advance } = start();
    for (const jti of ['a', 'b', 'c']) open(jti);
    await advance(3);
    expect(cuts).toEqual([]);
    ended.add('b');
    await advance(0.25);
    expect(cuts).toEqual([['b', 'grant-ended']]);
  });

  it('are checked with one query for all of them; without calls there is no query', async () => {
    const { clock, reads, open, advance } = start();
    const removes = ['a', 'b'].map(open);
    await advance(0.5);
    expect(reads).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
    for (const remove of removes) remove();
    await advance(1);
    expect(reads).toHaveLength(2);
    expect(clock.timers).toBe(0);
    open('c');
    await advance(0.25);
    expect(reads.at(-1)).toEqual(['c']);
  });

  it.each([
    'never',
    'error',
  ] as const)('are cut when the database has not answered for 5 s (its answer: %s)', async (answer) => {
    const { database, cuts, open, advance } = start();
    open('a');
    await advance(1);
    database.answer = answer;
    await advance(4.5);
    expect(cuts).toEqual([]);
    await advance(0.5);
    expect(cuts).toEqual([['a', 'state-unknown']]);
  });

  it('go on if the database answers again in time', async () => {
    const { database, cuts, errors, open, advance } = start();
    open('a');
    for (let n = 0; n < 3; n += 1) {
      database.answer = 'error';
      await advance(4);
      database.answer = 'at once';
      await advance(0.5);
    }
    expect(cuts).toEqual([]);
    expect(errors.length).toBeGreaterThan(10);
  });

  it('are watched again after a query that never returned, also if one is added before all are cut', async () => {
    const { database, ended, cuts, reads, openCalls, open, advance } = start();
    open('a');
    database.answer = 'never';
    await advance(5);
    expect(cuts).toEqual([['a', 'state-unknown']]);
    database.answer = 'at once';
    open('b');
    ended.add('b');
    await advance(0.25);
    expect(cuts).toEqual([
      ['a', 'state-unknown'],
      ['b', 'grant-ended'],
    ]);
    expect(reads.at(-1)).toEqual(['b']);
    expect(openCalls.count).toBe(0);
  });

  it('of one agent are at most 1,024', () => {
    const { openCalls, open } = start();
    const removes = Array.from({ length: 1_024 }, (_, n) => open(`${n}`));
    expect(() => openCalls.assertRoom('agt_1')).toThrow('overloaded');
    expect(() => openCalls.assertRoom('agt_2')).not.toThrow();
    removes[0]?.();
    expect(() => openCalls.assertRoom('agt_1')).not.toThrow();
  });
});
