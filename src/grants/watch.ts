import type { Clock } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';

export interface GrantWatchDeps {
  clock: Clock;
  /** Reads the change stamps of these grants, by id. */
  readStamps: (ids: string[]) => Promise<ReadonlyMap<string, string>>;
  onError: (error: unknown) => void;
}

interface WaitOptions {
  /** The change stamp of the grant that the caller has. */
  stamp: string;
  timeoutMs: number;
  signal: AbortSignal;
}

/** Waits for changes of one grant. It begins before the grant is read, so that no later change is missed. */
export interface GrantWatcher {
  /**
   * Resolves when the grant's stamp is no longer `stamp`, after `timeoutMs`, on abort, or when the watch ends;
   * at once if this process has changed the grant since the watcher began or since its last wait.
   */
  wait(options: WaitOptions): Promise<void>;
  /** Forgets the grant. No `wait` may be in progress. */
  stop(): void;
}

interface State {
  hasChanged: boolean;
  waiting?: { stamp: string; wake: () => void };
}

const pollMs = 500;

/**
 * Lets long polls wait for changes of grants without a connection each: one query every 500 ms serves all of them,
 * and no query runs without long polls. A change by this process wakes them at once, one by another replica at the next query.
 */
export class GrantWatch {
  readonly #deps: GrantWatchDeps;
  readonly #watchers = new Map<string, Set<State>>();
  #waits = 0;
  #polling: Repeat | undefined;
  #ended = false;

  constructor(deps: GrantWatchDeps) {
    this.#deps = deps;
  }

  /** Whether the watch has ended: every wait then resolves at once. */
  get ended(): boolean {
    return this.#ended;
  }

  watch(id: string): GrantWatcher {
    const state: State = { hasChanged: false };
    this.#watchers.set(id, (this.#watchers.get(id) ?? new Set()).add(state));
    return {
      wait: (options) => this.#wait(state, options),
      stop: () => {
        const watching = this.#watchers.get(id);
        watching?.delete(state);
        if (watching?.size === 0) this.#watchers.delete(id);
      },
    };
  }

  /** Wakes the waits for this grant. Called after this process has committed a change of it. */
  changed(id: string): void {
    for (const state of this.#watchers.get(id) ?? []) {
      state.hasChanged = true;
      state.waiting?.wake();
    }
  }

  /** Ends every wait and stops the polling. */
  async end(): Promise<void> {
    this.#ended = true;
    const last = this.#polling;
    for (const id of this.#watchers.keys()) this.changed(id);
    await last?.stop();
  }

  #wait(state: State, { stamp, timeoutMs, signal }: WaitOptions): Promise<void> {
    return new Promise((resolve) => {
      const { hasChanged } = state;
      state.hasChanged = false;
      if (hasChanged || this.#ended || signal.aborted || timeoutMs <= 0) {
        resolve();
        return;
      }
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', wake);
        delete state.waiting;
        state.hasChanged = false;
        this.#finishWait();
        resolve();
      };
      state.waiting = { stamp, wake };
      const timer = this.#deps.clock.setTimer(timeoutMs, wake);
      signal.addEventListener('abort', wake);
      this.#beginWait();
    });
  }

  #beginWait(): void {
    this.#waits += 1;
    const { clock, onError } = this.#deps;
    this.#polling ??= repeat({ clock, intervalMs: pollMs, run: () => this.#poll(), onError });
  }

  #finishWait(): void {
    this.#waits -= 1;
    if (this.#waits > 0) return;
    void this.#polling?.stop();
    this.#polling = undefined;
  }

  async #poll(): Promise<void> {
    const stamps = await this.#deps.readStamps([...this.#watchers.keys()]);
    for (const [id, watching] of this.#watchers) {
      for (const { waiting } of watching) if (waiting && stamps.get(id) !== waiting.stamp) waiting.wake();
    }
  }
}
