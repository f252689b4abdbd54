import { BrokerError } from '../errors.ts';
import type { Clock, Timer } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';
import type { TokenKey } from '../tokens/verified-tokens.ts';

/** Why the gateway cut a call. */
export type CutReason = 'grant-ended' | 'state-unknown';

export interface OpenCall {
  key: TokenKey;
  agentId: string;
  /** Ends the connections of the call abruptly. */
  cut(reason: CutReason): void;
}

export interface OpenCallsDeps {
  clock: Clock;
  /** Reads for each token whether what began under it may go on. */
  mayGoOn: (keys: readonly TokenKey[]) => Promise<boolean[]>;
  onError: (error: unknown) => void;
}

const pollMs = 250;
/** How long calls go on while the database does not answer. */
const silentMs = 5_000;
/** How many calls may be open. Each has up to two sockets. */
const most = { ofAgent: 1_024, total: 4_096 };

/**
 * Watches the calls whose response is not complete, with one query every 250 ms for all of them. Cuts those whose grant has
 * ended, whose token was revoked or whose signing key was compromised, and all of them if the database does not
 * answer for 5 s. The expiry of a token alone cuts nothing. No query runs without open calls.
 */
export class OpenCalls {
  readonly #deps: OpenCallsDeps;
  readonly #calls = new Set<OpenCall>();
  readonly #perAgent = new Map<string, number>();
  #polling: Repeat | undefined;
  #silence: Timer | undefined;
  /** Rises when the polling stops, so that the result of a query from before has no effect. */
  #generation = 0;

  constructor(deps: OpenCallsDeps) {
    this.#deps = deps;
  }

  get count(): number {
    return this.#calls.size;
  }

  /** Throws `overloaded` if the agent, or this replica, has as many open calls as it may have. */
  assertRoom(agentId: string): void {
    const isFull = this.#calls.size >= most.total || (this.#perAgent.get(agentId) ?? 0) >= most.ofAgent;
    if (isFull) throw new BrokerError('overloaded', { detail: 'too many open calls', retryAfterSeconds: 1 });
  }

  /** Adds a call that was authorised just now. Returns the function that removes it. */
  add(call: OpenCall): () => void {
    const { clock, onError } = this.#deps;
    this.#calls.add(call);
    this.#perAgent.set(call.agentId, (this.#perAgent.get(call.agentId) ?? 0) + 1);
    if (this.#silence === undefined) this.#cutAfterSilence(clock.now());
    this.#polling ??= repeat({ clock, intervalMs: pollMs, run: () => this.#poll(), onError });
    return () => this.#remove(call);
  }

  /** Stops the polling. */
  stop(): Promise<void> {
    this.#generation += 1;
    this.#silence?.cancel();
    this.#silence = undefined;
    const stopped = this.#polling?.stop() ?? Promise.resolve();
    this.#polling = undefined;
    return stopped;
  }

  #remove(call: OpenCall): void {
    if (!this.#calls.delete(call)) return;
    const left = (this.#perAgent.get(call.agentId) ?? 1) - 1;
    if (left > 0) this.#perAgent.set(call.agentId, left);
    else this.#perAgent.delete(call.agentId);
    if (this.#calls.size === 0) void this.stop();
  }

  #cut(which: readonly OpenCall[], reason: CutReason): void {
    for (const call of which) {
      if (!this.#calls.has(call)) continue;
      this.#remove(call);
      call.cut(reason);
    }
  }

  /** Cuts all calls `silentMs` after `askedAt`, unless it is called again before. */
  #cutAfterSilence(askedAt: Date): void {
    const { clock } = this.#deps;
    this.#silence?.cancel();
    const leftMs = askedAt.getTime() + silentMs - clock.now().getTime();
    // The removal of the last call also gives up the query that never returned: the next call starts another.
    this.#silence = clock.setTimer(leftMs, () => this.#cut([...this.#calls], 'state-unknown'));
  }

  async #poll(): Promise<void> {
    const { clock, mayGoOn } = this.#deps;
    const generation = this.#generation;
    const asked = [...this.#calls];
    const askedAt = clock.now();
    const results = await mayGoOn(asked.map(({ key }) => key));
    if (generation !== this.#generation) return;
    this.#cutAfterSilence(askedAt);
    this.#cut(
      asked.filter((_, n) => results[n] !== true),
      'grant-ended',
    );
  }
}
