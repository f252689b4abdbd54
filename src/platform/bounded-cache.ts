export interface BoundedCache<Value> {
  readonly size: number;
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

/** One key of several parts; different parts never make the same key. */
export function cacheKey(
  parts: readonly (string | number | bigint | readonly string[] | null | undefined)[],
): string {
  return JSON.stringify(parts, (_, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part));
}

/**
 * Keeps the last `maxEntries` used. Nothing is ever invalidated: either the key holds every version that the value
 * depends on, or whoever uses the value has its versions checked where they are kept.
 */
export function createBoundedCache<Value>({ maxEntries = 10_000 } = {}): BoundedCache<Value> {
  // A Map iterates in the order of insertion, so the first key is the one least recently used.
  const entries = new Map<string, Value>();
  return {
    get size() {
      return entries.size;
    },
    get(key) {
      const value = entries.get(key);
      if (value === undefined) return undefined;
      entries.delete(key);
      entries.set(key, value);
      return value;
    },
    set(key, value) {
      entries.delete(key);
      entries.set(key, value);
      if (entries.size <= maxEntries) return;
      const oldest = entries.keys().next();
      if (oldest.done !== true) entries.delete(oldest.value);
    },
  };
}
