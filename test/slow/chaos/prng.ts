import { createHash } from 'node:crypto';

/** Random choices that a seed reproduces. */
export interface Prng {
  /** Returns a number in [0, 1). */
  next(): number;
  /** Returns an integer from `low` to `high`, both included. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  /** Returns one of `items`; undefined if there are none. */
  pick<Item>(items: readonly Item[]): Item | undefined;
  /** Returns one of `items`, with a probability in proportion to its weight. */
  weighted<Item>(items: readonly (readonly [weight: number, item: Item])[]): Item;
  /** Returns up to `count` distinct items. */
  some<Item>(items: readonly Item[], count: number): Item[];
}

/**
 * Creates a mulberry32 generator (Tommy Ettinger, public domain). `name` distinguishes independent sequences of one
 * seed.
 */
export function createPrng(seed: string, name: string): Prng {
  let state = createHash('sha256').update(`${seed} ${name}`).digest().readUInt32BE();
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    next,
    between: (low, high) => low + below(high - low + 1),
    chance: (probability) => next() < probability,
    pick: (items) => items[below(items.length)],
    weighted(items) {
      let left = next() * items.reduce((sum, [weight]) => sum + weight, 0);
      const found = items.find(([weight]) => {
        left -= weight;
        return left < 0;
      });
      const [, item] = found ?? (items.at(-1) as (typeof items)[number]);
      return item;
    },
    some(items, count) {
      const left = [...items];
      return Array.from(
        { length: Math.min(count, left.length) },
        () => left.splice(below(left.length), 1)[0],
      ).filter((item) => item !== undefined);
    },
  };
}
