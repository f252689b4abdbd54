import type { Clock } from './clock.ts';
import { shareRuns } from './share-runs.ts';

export interface KeptAnswer<T> {
  /** Returns the result or failure of a run of `work` that began at most `keepMs` ago. */
  read(): Promise<T>;
  /** Drops the cached result: the next caller gets one of a run that begins after this call. */
  forget(): void;
}

/** Caches the result of `work`. Runs do not overlap, and begin at most once in `keepMs` unless `forget` is called. */
export function keepAnswer<T>(options: {
  clock: Clock;
  keepMs: number;
  work: () => Promise<T>;
}): KeptAnswer<T> {
  const { clock, keepMs } = options;
  const run = shareRuns(options.work);
  let kept: { askedAt: number; answer: Promise<T> } | undefined;
  return {
    read() {
      const now = clock.now().getTime();
      const age = kept === undefined ? keepMs : now - kept.askedAt;
      // A clock that was set back gives a negative age, which is unknown.
      if (kept === undefined || age < 0 || age >= keepMs) kept = { askedAt: now, answer: run() };
      return kept.answer;
    },
    forget() {
      kept = undefined;
    },
  };
}
