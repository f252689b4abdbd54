import type { Phase } from './store/due.ts';

/** Limits how many attempts to end leases a replica begins. */
export interface AttemptRate {
  /** Claims up to `limit` items, or fewer if the rate does not permit more; then calls `goOn` when it does. */
  claim<Item>(
    phase: Phase,
    limit: number,
    { claim, goOn }: { claim: (limit: number) => Promise<Item[]>; goOn: () => void },
  ): Promise<Item[]>;
  /** Permits the attempts of another tenth of a second. Until it is called for the first time, nothing is limited. */
  refill(): void;
}

export const refillMs = 100;

/**
 * How many attempts a replica may begin: `perRefill` each tenth of a second, up to `atOnce` after a pause. Without a limit, a backlog of thousands of leases would
 * take all the time of the database and delay every request. The end of access is urgent: a thousand accounts at once are
 * not delayed, which is more than a replica ends in a second at real targets. The removal of accounts can wait.
 */
const limits: Record<Phase, { perRefill: number; atOnce: number }> = {
  disable: { perRefill: 50, atOnce: 1_000 },
  'clean-up': { perRefill: 20, atOnce: 200 },
};
const phases = Object.keys(limits) as Phase[];

export function createAttemptRate(): AttemptRate {
  const left: Record<Phase, number> = {
    disable: Number.POSITIVE_INFINITY,
    'clean-up': Number.POSITIVE_INFINITY,
  };
  // In the order in which they began to wait, so that each gets its turn.
  const waiting: Record<Phase, Set<() => void>> = { disable: new Set(), 'clean-up': new Set() };

  return {
    async claim(phase, limit, { claim, goOn }) {
      const room = Math.min(limit, left[phase]);
      if (room < limit) waiting[phase].add(goOn);
      if (room === 0) return [];
      left[phase] -= room;
      const claimed = await claim(room).catch((error: unknown) => {
        left[phase] += room;
        throw error;
      });
      left[phase] += room - claimed.length;
      return claimed;
    },
    refill() {
      for (const phase of phases) {
        const { perRefill, atOnce } = limits[phase];
        left[phase] = Number.isFinite(left[phase]) ? Math.min(left[phase] + perRefill, atOnce) : atOnce;
        const ready = [...waiting[phase]];
        waiting[phase].clear();
        for (const goOn of ready) goOn();
      }
    },
  };
}
