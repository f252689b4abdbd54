import type { RefusedWorkloadToken } from '../errors.ts';

/** How many addresses are counted separately. The others share one count, which bounds memory and the audit log. */
const maxAddresses = 1000;
/**
 * How many combinations of address, issuer, subject and reason of refused platform tokens are counted separately, in
 * total and for each address. Further ones count only for their address.
 */
const maxTokens = 100;
const maxTokensOfAddress = 10;
const others = 'other';

/** How often a platform token was refused for one address, issuer, subject and reason, with the latest detail. */
export interface RefusedTokenCount extends RefusedWorkloadToken {
  address: string;
  count: number;
}

export interface StrangerReport {
  /** Refused unauthenticated requests, by address. */
  addresses: ReadonlyMap<string, number>;
  tokens: readonly RefusedTokenCount[];
}

/** Counts refused unauthenticated requests, and the platform tokens among them, until `take` is called. */
export class StrangerCounts {
  #addresses = new Map<string, number>();
  #tokens = new Map<string, RefusedTokenCount>();

  count(address: string, token?: RefusedWorkloadToken): void {
    const key = this.#addresses.has(address) || this.#addresses.size < maxAddresses ? address : others;
    this.#addresses.set(key, (this.#addresses.get(key) ?? 0) + 1);
    if (token !== undefined) this.#countToken(address, token);
  }

  #countToken(address: string, token: RefusedWorkloadToken): void {
    const key = JSON.stringify([address, token.issuer, token.subject, token.reason]);
    const known = this.#tokens.get(key);
    const isFull =
      this.#tokens.size >= maxTokens ||
      [...this.#tokens.values()].filter((each) => each.address === address).length >= maxTokensOfAddress;
    if (known === undefined && isFull) return;
    this.#tokens.set(key, { ...token, address, count: (known?.count ?? 0) + 1 });
  }

  /** Returns the counts and resets them. */
  take(): StrangerReport {
    const taken = { addresses: this.#addresses, tokens: [...this.#tokens.values()] };
    this.#addresses = new Map();
    this.#tokens = new Map();
    return taken;
  }
}
