import type { Clock } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';

/** Lets long polls wait for grants without holding a connection. */
export interface GrantWatch {
  /** Resolves when the grant's stamp is no longer `stamp`, after `timeoutMs`, on abort, or when the watch ends. */
  wait(options: { id: string; stamp: string; timeoutMs: number; signal: AbortSignal }): Promise<void>;
  /** Wakes those who wait for these grants, at once: called after a change of this process has committed. */
  changed(...ids: string[]): void;
  readonly ended: boolean;
  /** Lets everybody go. */
  end(): Promise<void>;
}

interface Waiter {
  stamp: string;
  wake: () => void;
}

const pollMs = 500;

/**
 * One poll of `readStamps` (grant id to stamp) every 500 ms for all who wait, and none while nobody does. Changes of
 * this process wake at once, those of other replicas with the next poll.
 */
export function createGrantWatch(options: {
  clock: Clock;
  readStamps: (ids: string[]) => Promise<ReadonlyMap<string, string>>;
  onError: (error: unknown) => void;
}): GrantWatch {
  const { clock, readStamps, onError } = options;
  const waiters = new Map<string, Set<Waiter>>();
  let polling: Repeat | undefined;
  let ended = false;

  async function poll(): Promise<void> {
    const stamps = await readStamps([...waiters.keys()]);
    for (const [id, waiting] of waiters) {
      for (const waiter of [...waiting]) if (stamps.get(id) !== waiter.stamp) waiter.wake();
    }
  }

  function add(id: string, waiter: Waiter): void {
    const waiting = waiters.get(id) ?? new Set();
    waiters.set(id, waiting.add(waiter));
    polling ??= repeat({ clock, intervalMs: pollMs, run: poll, onError });
  }

  function remove(id: string, waiter: Waiter): void {
    const waiting = waiters.get(id);
    waiting?.delete(waiter);
    if (waiting?.size === 0) waiters.delete(id);
    if (waiters.size > 0) return;
    void polling?.stop();
    polling = undefined;
  }

  return {
    get ended() {
      return ended;
    },
    wait: ({ id, stamp, timeoutMs, signal }) =>
      new Promise((resolve) => {
        if (ended || signal.aborted || timeoutMs <= 0) {
          resolve();
          return;
        }
        const wake = (): void => {
          timer.cancel();
          signal.removeEventListener('abort', wake);
          remove(id, waiter);
          resolve();
        };
        const waiter = { stamp, wake };
        const timer = clock.setTimer(timeoutMs, wake);
        signal.addEventListener('abort', wake);
        add(id, waiter);
      }),
    changed(...ids) {
      for (const id of ids) for (const waiter of [...(waiters.get(id) ?? [])]) waiter.wake();
    },
    async end() {
      ended = true;
      const last = polling;
      for (const id of [...waiters.keys()]) for (const waiter of [...(waiters.get(id) ?? [])]) waiter.wake();
      await last?.stop();
    },
  };
}
