export interface DecisionCache<Value> {
  readonly size: number;
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

/** One key of several parts; different parts never make the same key. */
export function decisionKey(parts: readonly (string | number | bigint | readonly string[])[]): string {
  return JSON.stringify(parts, (_, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part));
}

/**
 * Keeps the last `maxEntries` used. Nothing is ever invalidated: the key must hold every version the value depends
 * on (grant, policy epoch, resource, agent) and every fact of the use.
 */
export function createDecisionCache<Value>({ maxEntries = 10_000 } = {}): DecisionCache<Value> {
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
      const [oldest] = entries.keys();
      if (entries.size > maxEntries && oldest !== undefined) entries.delete(oldest);
    },
  };
}
