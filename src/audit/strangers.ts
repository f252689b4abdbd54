/** How many addresses are told apart; the rest is counted together, so that nobody can flood memory or the record. */
const maxAddresses = 1000;
const others = 'other';

/** Refusals of callers who did not authenticate, per address, until somebody takes the counts. */
export class StrangerCounts {
  #counts = new Map<string, number>();

  count(address: string): void {
    const key = this.#counts.has(address) || this.#counts.size < maxAddresses ? address : others;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** The counts so far; counting begins anew. */
  take(): ReadonlyMap<string, number> {
    const taken = this.#counts;
    this.#counts = new Map();
    return taken;
  }
}
