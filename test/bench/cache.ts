import { type BoundedCache, type CacheLimits, createBoundedCache } from '../../src/platform/bounded-cache.ts';
import { median, print, printTarget, setting } from './figures.ts';

/**
 * Compares the server's cache with the simplest code that does the same, a Map in order of use, on the work of
 * minting: it looks up keys that were just joined, and adds entries, weighed or not, to a full cache. Each round
 * measures both in turn for some milliseconds and takes the ratio of the two, so that a busy machine slows down both.
 */
const rounds = setting('ROUNDS', 101);
const operations = setting('OPERATIONS', 5_000);
const maxEntries = setting('ENTRIES', 10_000);

type Limits = CacheLimits<number>;
type Create = (limits: Limits) => BoundedCache<number>;

function createMapCache({
  weigh = () => 0,
  maxWeight = Number.POSITIVE_INFINITY,
}: Limits): BoundedCache<number> {
  const entries = new Map<string, { value: number; weight: number }>();
  let total = 0;
  const remove = (key: string): void => {
    total -= entries.get(key)?.weight ?? 0;
    entries.delete(key);
  };
  return {
    get size() {
      return entries.size;
    },
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entries.delete(key);
      entries.set(key, entry);
      return entry.value;
    },
    set(key, value) {
      remove(key);
      const weight = weigh(value);
      entries.set(key, { value, weight });
      total += weight;
      for (const oldest of entries.keys()) {
        if (entries.size <= maxEntries && total <= maxWeight) break;
        remove(oldest);
      }
    },
  };
}

type Run = (cache: BoundedCache<number>) => void;

interface Pattern {
  limits?: Limits;
  /** Fills the cache before the first round. */
  fill: Run;
  run: Run;
}

const idOf = (i: number): string => `agt_${String(i).padStart(26, '0')}`;
const keyOf = (id: string): string => `${id} https://resource.example`;

/**
 * Returns numbers below `count` in an order without a repeating pattern: a linear congruential generator with a fixed
 * seed.
 */
function shuffledIndexes(count: number): number[] {
  let state = 12_345;
  return Array.from({ length: operations }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % count;
  });
}

function fillWith(count: number): Run {
  return (cache) => {
    for (let i = 0; i < count; i += 1) cache.set(keyOf(idOf(i)), i);
  };
}

/**
 * Measures hits of `count` keys, which are either joined for each look-up, as in minting, or the same strings each
 * time.
 */
function hits(count: number, joined: boolean): Pattern {
  const ids = Array.from({ length: count }, (_, i) => idOf(i));
  const keys = ids.map(keyOf);
  const order = shuffledIndexes(count);
  return {
    fill: fillWith(count),
    run: (cache) => {
      for (const i of order) {
        const key = joined ? keyOf(ids[i] ?? '') : (keys[i] ?? '');
        if (cache.get(key) === undefined) throw new Error(`no entry ${key}`);
      }
    },
  };
}

/** Measures new entries in a full cache: each evicts at least one. */
function evictions(limits: Limits): Pattern {
  let next = maxEntries;
  return {
    limits,
    fill: fillWith(maxEntries),
    run: (cache) => {
      for (const end = next + operations; next < end; next += 1) cache.set(keyOf(idOf(next)), next);
    },
  };
}

const patterns: Record<string, () => Pattern> = {
  'hits, 1 key': () => hits(1, true),
  'hits, 100 keys': () => hits(100, true),
  'hits, 1,000 keys': () => hits(1_000, true),
  'hits, 10,000 keys': () => hits(maxEntries, true),
  'hits, 1 key, same strings': () => hits(1, false),
  'hits, 1,000 keys, same strings': () => hits(1_000, false),
  'hits, 10,000 keys, same strings': () => hits(maxEntries, false),
  'sets with eviction': () => evictions({}),
  'weighed sets with eviction': () =>
    evictions({ weigh: (value) => 500 + (value % 1_000), maxWeight: maxEntries * 500 }),
};

function prepare(create: Create, makePattern: () => Pattern): () => number {
  const { fill, run, limits = {} } = makePattern();
  const cache = create({ ...limits, maxEntries });
  fill(cache);
  return () => {
    const start = process.hrtime.bigint();
    run(cache);
    return Number(process.hrtime.bigint() - start) / operations;
  };
}

for (const [name, makePattern] of Object.entries(patterns)) {
  const server = prepare(createBoundedCache, makePattern);
  const map = prepare(createMapCache, makePattern);
  const times: { server: number; map: number }[] = [];
  for (let round = -10; round < rounds; round += 1) {
    // The first rounds only warm up the compiler. Each cache goes first in every second round.
    const before = round % 2 === 0 ? server() : undefined;
    const mapTime = map();
    const serverTime = before ?? server();
    if (round >= 0) times.push({ server: serverTime, map: mapTime });
  }
  const ns = (key: 'server' | 'map'): string => `${median(times.map((time) => time[key])).toFixed(0)} ns`;
  const speed = median(times.map((time) => time.map / time.server));
  printTarget(`${name.padEnd(32)} server ${ns('server')}, map ${ns('map')}; speed by the map's`, speed, {
    atLeast: 0.95,
  });
}
print(`${rounds} rounds of ${operations} operations each`);
