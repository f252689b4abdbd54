export interface BoundedCache<Value> {
  readonly size: number;
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

export interface CacheLimits<Value> {
  maxEntries?: number;
  /** What one value weighs (bytes, or whatever `maxWeight` counts); 0 unless given. */
  weigh?: (value: Value) => number;
  maxWeight?: number;
}

/**
 * Keeps the last used, up to `maxEntries` and `maxWeight` in sum. Nothing is ever invalidated: either the key holds every
 * version that the value depends on, or whoever uses the value has its versions checked where they are kept.
 */
export function createBoundedCache<Value>(limits: CacheLimits<Value> = {}): BoundedCache<Value> {
  const { maxEntries = 10_000, weigh = () => 0, maxWeight = Number.POSITIVE_INFINITY } = limits;
  // A Map iterates in the order of insertion, so the first key is the one least recently used.
  const entries = new Map<string, { value: Value; weight: number }>();
  let total = 0;

  function remove(key: string): void {
    total -= entries.get(key)?.weight ?? 0;
    entries.delete(key);
  }

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
