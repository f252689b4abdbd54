import type { Clock } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';

export interface GrantWatchDeps {
  clock: Clock;
  /** The stamps of these grants, by id. */
  readStamps: (ids: string[]) => Promise<ReadonlyMap<string, string>>;
  onError: (error: unknown) => void;
}

interface Waiter {
  stamp: string;
  wake: () => void;
}

const pollMs = 500;

/**
 * Lets long polls wait for grants without holding a connection: one poll every 500 ms for all who wait, and none while
 * nobody does. Changes of this process wake at once, those of other replicas with the next poll.
 */
export class GrantWatch {
  readonly #deps: GrantWatchDeps;
  readonly #waiters = new Map<string, Set<Waiter>>();
  #polling: Repeat | undefined;
  #ended = false;

  constructor(deps: GrantWatchDeps) {
    this.#deps = deps;
  }

  /** Whether everybody was let go, and nobody can wait any more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Resolves when the grant's stamp is no longer `stamp`, after `timeoutMs`, on abort, or when the watch ends. */
  wait(options: { id: string; stamp: string; timeoutMs: number; signal: AbortSignal }): Promise<void> {
    const { id, stamp, timeoutMs, signal } = options;
    return new Promise((resolve) => {
      if (this.#ended || signal.aborted || timeoutMs <= 0) {
        resolve();
        return;
      }
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', wake);
        this.#remove(id, waiter);
        resolve();
      };
      const waiter = { stamp, wake };
      const timer = this.#deps.clock.setTimer(timeoutMs, wake);
      signal.addEventListener('abort', wake);
      this.#add(id, waiter);
    });
  }

  /** Wakes those who wait for these grants: called after a change of this process has committed. */
  changed(...ids: string[]): void {
    for (const id of ids) for (const { wake } of [...(this.#waiters.get(id) ?? [])]) wake();
  }

  /** Lets everybody go. */
  async end(): Promise<void> {
    this.#ended = true;
    const last = this.#polling;
    this.changed(...this.#waiters.keys());
    await last?.stop();
  }

  async #poll(): Promise<void> {
    const stamps = await this.#deps.readStamps([...this.#waiters.keys()]);
    for (const [id, waiting] of this.#waiters) {
      for (const { stamp, wake } of [...waiting]) if (stamps.get(id) !== stamp) wake();
    }
  }

  #add(id: string, waiter: Waiter): void {
    const waiting = this.#waiters.get(id) ?? new Set();
    this.#waiters.set(id, waiting.add(waiter));
    const { clock, onError } = this.#deps;
    this.#polling ??= repeat({ clock, intervalMs: pollMs, run: () => this.#poll(), onError });
  }

  #remove(id: string, waiter: Waiter): void {
    const waiting = this.#waiters.get(id);
    waiting?.delete(waiter);
    if (waiting?.size === 0) this.#waiters.delete(id);
    if (this.#waiters.size > 0) return;
    void this.#polling?.stop();
    this.#polling = undefined;
  }
}
