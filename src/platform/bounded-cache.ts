import { LRUCache } from 'lru-cache';

export interface BoundedCache<Value> {
  readonly size: number;
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

export interface CacheLimits<Value> {
  /** The most entries; 10,000 by default. */
  maxEntries?: number;
  /** Returns the weight of a value: an integer, in bytes or any other unit. Each value weighs at least 1. */
  weigh?: (value: Value) => number;
  /** The greatest sum of the weights, in the same unit. A value that is heavier alone is not cached. */
  maxWeight?: number;
}

/**
 * Creates a cache that evicts the least recently used entries beyond its limits. Entries are never invalidated: either the
 * key names every version that the value depends on, or the versions are checked where the value is used.
 */
export function createBoundedCache<Value extends NonNullable<unknown>>(
  limits: CacheLimits<Value> = {},
): BoundedCache<Value> {
  const { maxEntries: max = 10_000, weigh, maxWeight: maxSize } = limits;
  if (weigh === undefined || maxSize === undefined) return new LRUCache<string, Value>({ max });
  // The library refuses an entry of size 0.
  const sizeCalculation = (value: Value): number => Math.max(weigh(value), 1);
  const cache = new LRUCache<string, Value>({ max, maxSize, sizeCalculation });
  return {
    get size() {
      return cache.size;
    },
    get: (key) => cache.get(key),
    set(key, value) {
      // The library keeps the old size if it has the same object already, which may have grown since.
      cache.delete(key);
      cache.set(key, value);
    },
  };
}
