import { generateKeyPairSync } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { createKeySets, type KeySets } from '../../src/outbound/key-sets.ts';
import { OutboundFailure } from '../../src/outbound/outbound-failure.ts';
import { FakeClock } from '../support/fake-clock.ts';

const jwk = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
const setOf = (...kids: string[]) => ({ keys: kids.map((kid) => ({ ...jwk, kid })) });
const url = 'https://issuer.test/jwks';
const minutes = (n: number): number => 60 * n;

let clock: FakeClock;
let sets: KeySets;
/** The response of each URL: a document, or a failure. */
let answers: Map<string, object>;
let reads: string[];
let failures: string[];
/** Delays the responses of a URL until the promise resolves. */
let hold: Map<string, Promise<void>>;

beforeEach(() => {
  clock = new FakeClock();
  answers = new Map([[url, setOf('a')]]);
  reads = [];
  hold = new Map();
  failures = [];
  sets = createKeySets({
    clock,
    onFailure: (_place, { problem }) => failures.push(problem),
    client: {
      async getJson(from) {
        reads.push(from);
        await hold.get(from);
        const answer = answers.get(from) ?? new OutboundFailure('refused');
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
  });
});

const find = async (kid?: string, from = url) => (await sets.find({ uri: from }, kid)).map((key) => key.kid);
const down = (problem: 'timed-out' | 'refused' = 'timed-out') =>
  answers.set(url, new OutboundFailure(problem));
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the reads', () => {
  it('are counted by outcome', async () => {
    await find('a');
    down();
    await find('a', 'https://elsewhere.test/keys').catch(() => undefined);
    clock.advance(minutes(5));
    await find('a');
    expect(Object.fromEntries(sets.readings())).toEqual({ read: 1, refused: 1, 'timed-out': 1 });
  });
});

describe('the keys of an issuer', () => {
  it('are read once and used for four minutes without another read, by kid or all of them', async () => {
    answers.set(url, setOf('a', 'b'));
    expect(await find('a')).toEqual(['a']);
    clock.advance(minutes(4) - 1);
    expect([await find('b'), await find()]).toEqual([['b'], ['a', 'b']]);
    expect(reads).toHaveLength(1);
  });

  it('are read again in the minute after that, and no caller waits for it', async () => {
    await find('a');
    clock.advance(minutes(4));
    answers.set(url, setOf('b'));
    hold.set(url, new Promise(() => {}));
    expect(await find('a')).toEqual(['a']);
    expect(await find('a')).toEqual(['a']);
    expect(reads).toHaveLength(2);
  });

  it('are no longer used after the next read if they were removed', async () => {
    await find('a');
    answers.set(url, setOf('b'));
    clock.advance(minutes(5) - 1);
    expect(await find('a')).toEqual(['a']);
    await nextTurn();
    expect(await find('a')).toEqual([]);
    expect(await find('b')).toEqual(['b']);
    expect(reads).toHaveLength(2);
  });

  it('are used for five minutes at most after they were removed, even without a use in between', async () => {
    await find('a');
    answers.set(url, setOf('b'));
    clock.advance(minutes(5));
    expect(await Promise.all([find('a'), find('a'), find('b')])).toEqual([[], [], ['b']]);
    expect(reads).toHaveLength(2);
  });

  it('are read once for all concurrent callers', async () => {
    const found = await Promise.all(Array.from({ length: 50 }, () => find('a')));
    expect(found.every(([kid]) => kid === 'a')).toBe(true);
    expect(reads).toHaveLength(1);
  });

  it('are found at once if they are new, with one read for all callers', async () => {
    await find('a');
    clock.advance(31);
    answers.set(url, setOf('a', 'b'));
    const found = await Promise.all(Array.from({ length: 50 }, () => find('b')));
    expect(found.every(([kid]) => kid === 'b')).toBe(true);
    expect(reads).toHaveLength(2);
  });

  it('are read at most once in 30 s, for any number of unknown kids', async () => {
    await find('a');
    for (let second = 0; second < 90; second += 1) {
      for (let n = 0; n < 20; n += 1) expect(await find(`unknown-${second}-${n}`)).toEqual([]);
      clock.advance(1);
    }
    expect(reads).toHaveLength(3);
  });
});

describe('an issuer that is down', () => {
  it('has its keys used for an hour after they were read, and then no longer', async () => {
    await find('a');
    down();
    for (let n = 0; n < 59; n += 1) {
      clock.advance(minutes(1));
      expect(await find('a')).toEqual(['a']);
      await nextTurn();
    }
    clock.advance(minutes(1));
    await expect(find('a')).rejects.toMatchObject({ problem: 'timed-out' });
    expect(new Set(failures)).toEqual(new Set(['timed-out']));
    answers.set(url, setOf('a'));
    clock.advance(30);
    expect(await find('a')).toEqual(['a']);
  });

  it('has unknown kids refused meanwhile, and known ones accepted', async () => {
    await find('a');
    down();
    clock.advance(minutes(6));
    expect(await find('b')).toEqual([]);
    expect(await find('a')).toEqual(['a']);
  });

  it('is asked at most once in 30 s if it was down from the start, and works as soon as it is up', async () => {
    down('refused');
    for (let n = 0; n < 29; n += 1) {
      await expect(find('a')).rejects.toMatchObject({ problem: 'refused' });
      clock.advance(1);
    }
    expect(reads).toHaveLength(1);
    answers.set(url, setOf('a'));
    clock.advance(1);
    expect(await find('a')).toEqual(['a']);
  });

  it.each([
    { keys: 1 },
    { keys: [{ kty: 'oct', k: 'AA' }] },
    new Error('unforeseen'),
  ])('in that it responds with %j does not remove the keys that were read before', async (answer) => {
    await find('a');
    answers.set(url, answer);
    clock.advance(minutes(6));
    expect(await find('a')).toEqual(['a']);
    await nextTurn();
    expect(await find('a')).toEqual(['a']);
  });

  it('does not delay the keys of another issuer by being slow', async () => {
    const other = 'https://other.test/jwks';
    answers.set(other, setOf('b'));
    hold.set(url, new Promise(() => {}));
    const slow = Array.from({ length: 100 }, () => find('a'));
    expect(await find('b', other)).toEqual(['b']);
    expect(slow).toHaveLength(100);
    expect(reads).toEqual([url, other]);
  });
});

describe('the cache', () => {
  const at = (n: number): string => `https://issuer-${n}.test/`;

  it.each([
    ['ten thousand issuers', 10_000, setOf('a')],
    ['fifty thousand keys', 500, setOf(...Array.from({ length: 99 }, (_, n) => `k${n}`), 'a')],
  ])('keeps %s, the most recently used ones', async (_, count, set) => {
    for (let n = 0; n < count + 1; n += 1) {
      answers.set(at(n), set);
      await find('a', at(n));
    }
    reads = [];
    await find('a', at(count));
    await find('a', at(count - 2));
    expect(reads).toEqual([]);
    await find('a', at(0));
    expect(reads).toEqual([at(0)]);
  });

  it('is not trusted after a clock that was ahead is set back', async () => {
    clock.advance(minutes(120));
    await find('a');
    clock.advance(-minutes(120));
    down('refused');
    await expect(find('a')).rejects.toMatchObject({ problem: 'refused' });
  });
});
