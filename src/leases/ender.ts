import { addSeconds, type Clock } from '../platform/clock.ts';
import { type Repeat, repeat } from '../platform/repeat.ts';
import type { LeasesDeps } from './deps.ts';
import { endDueAt, revokeUnderEndedGrants } from './end.ts';
import { listDueConnections } from './store/due.ts';

export interface LeaseEnderDeps extends LeasesDeps {
  onError: (error: unknown) => void;
}

export interface LeaseEnder {
  /** Looks for leases to end every half second from now on. */
  start(): void;
  /** Ends what is due now. Resolves when nothing more is due at any target that can be reached. */
  runNow(): Promise<void>;
  /** Starts nothing more, and waits for the batches under way. */
  stop(): Promise<void>;
}

const intervalMs = 500;
/** How long an unreachable target is left alone: it doubles with each failure. */
const firstPauseSeconds = 1;
const longestPauseSeconds = 10;

/** Remembers which targets could not be reached, and leaves each alone for a while. */
function createOutages(clock: Clock) {
  const outages = new Map<string, { until: Date; failures: number }>();
  return {
    isPaused: (connectionId: string): boolean =>
      (outages.get(connectionId)?.until ?? clock.now()) > clock.now(),
    notice(connectionId: string, isOutage: boolean): void {
      if (!isOutage) {
        outages.delete(connectionId);
        return;
      }
      const failures = (outages.get(connectionId)?.failures ?? 0) + 1;
      const seconds = Math.min(firstPauseSeconds * 2 ** (failures - 1), longestPauseSeconds);
      outages.set(connectionId, { until: addSeconds(clock.now(), seconds), failures });
    },
  };
}

/**
 * Ends leases on this replica. Every replica may have one: the database decides which ends a lease. Each target has its
 * own loop, so that one which cannot be reached delays no other. Nothing about leases is kept in memory.
 */
export function createLeaseEnder(deps: LeaseEnderDeps): LeaseEnder {
  const { db, clock, onError } = deps;
  const loops = new Map<string, Promise<void>>();
  const outages = createOutages(clock);
  let stopped = false;
  let looking: Repeat | undefined;

  async function endAllAt(connectionId: string): Promise<void> {
    for (;;) {
      if (stopped || outages.isPaused(connectionId)) return;
      const { count, isOutage } = await endDueAt(deps, connectionId);
      outages.notice(connectionId, isOutage);
      if (count === 0) return;
    }
  }

  function loop(connectionId: string): Promise<void> {
    const running =
      loops.get(connectionId) ??
      endAllAt(connectionId)
        .catch(onError)
        .finally(() => loops.delete(connectionId));
    loops.set(connectionId, running);
    return running;
  }

  /** Starts a loop for each target with due leases that has none. */
  async function look(): Promise<Promise<void>[]> {
    await revokeUnderEndedGrants(deps);
    const due = await listDueConnections(db, clock.now());
    return stopped ? [] : due.map(loop);
  }

  return {
    start() {
      looking ??= repeat({ clock, intervalMs, onError, run: async () => void (await look()) });
    },
    async runNow() {
      await Promise.all(await look());
    },
    async stop() {
      stopped = true;
      await looking?.stop();
      await Promise.all(loops.values());
    },
  };
}
