import type { Clock } from './clock.ts';
import { shareRuns } from './share-runs.ts';

export interface KeptAnswer<T> {
  /** An answer of `work`, or its failure, that is at most `keepMs` old: what was true before that is not told any more. */
  read(): Promise<T>;
  /** The next caller gets an answer that is begun after this call. */
  forget(): void;
}

/** Spares `work` whoever asks often: it runs one at a time, and begins at most once in `keepMs` while nothing is forgotten. */
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
      // A clock that was set back says nothing of the age.
      if (kept === undefined || age < 0 || age >= keepMs) kept = { askedAt: now, answer: run() };
      return kept.answer;
    },
    forget() {
      kept = undefined;
    },
  };
}
