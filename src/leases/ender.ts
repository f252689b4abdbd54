import { type Repeat, repeat } from '../platform/repeat.ts';
import type { LeasesDeps } from './deps.ts';
import { endNext, type Outcome, revokeUnderEndedGrants } from './end.ts';
import { createOutages } from './outages.ts';
import { createPolicyCheck } from './policy-check.ts';
import { listDueQueues, type Phase, type Queue } from './store/due.ts';

export interface LeaseEnderDeps extends LeasesDeps {
  onError: (error: unknown) => void;
}

export interface LeaseEnder {
  /** Looks for leases to end every half second from now on. */
  start(): void;
  /** Ends what is due now. Resolves when nothing more is due at any target that can be reached. */
  runNow(): Promise<void>;
  /** Starts nothing more, and waits for the attempts under way. */
  stop(): Promise<void>;
}

const intervalMs = 500;
/** How many leases of one connection this replica ends at the same time. */
const atOnce: Record<Phase, number> = { disable: 4, 'clean-up': 2 };

/**
 * Ends leases on this replica. Every replica may have one: the database decides which ends a lease. Each target has queues of
 * its own, so that one which cannot be reached delays no other, and the end of access waits for no clean-up. Nothing about
 * leases is kept in memory.
 */
export function createLeaseEnder(deps: LeaseEnderDeps): LeaseEnder {
  const { db, clock, onError } = deps;
  const outages = createOutages(clock);
  const checkPolicies = createPolicyCheck(deps);
  let stopped = false;
  let looking: Repeat | undefined;
  let checking: Repeat | undefined;

  /** Whether the queue may go on after its last attempt, whose outcome is null at first. */
  const mayContinue = ({ connectionId }: Queue, outcome: Outcome | null): boolean => {
    if (outcome !== null) outages.notice(connectionId, outcome === 'outage');
    return !stopped && !outages.isPaused(connectionId);
  };

  const workers = createWorkers((queue) => endQueue(deps, queue, mayContinue));

  /** Starts workers for each queue with due leases. */
  async function look(): Promise<Promise<number>[]> {
    // What has expired must end also while this query fails.
    await revokeUnderEndedGrants(deps).catch(onError);
    const due = await listDueQueues(db, clock.now());
    return stopped ? [] : due.flatMap(workers.startFor);
  }

  return {
    start() {
      looking ??= repeat({ clock, intervalMs, onError, run: async () => void (await look()) });
      // Apart from the above, because deciding about many grants takes time.
      checking ??= repeat({
        clock,
        intervalMs: 2 * intervalMs,
        onError,
        run: async () => void (await checkPolicies()),
      });
    },
    async runNow() {
      await checkPolicies();
      // What has lost its access in one round is cleaned up in the next.
      for (let attempts = 1; attempts > 0; ) {
        attempts = (await Promise.all(await look())).reduce((sum, count) => sum + count, 0);
      }
    },
    async stop() {
      stopped = true;
      await Promise.all([looking?.stop(), checking?.stop()]);
      await workers.ended();
    },
  };
}

/** Creates the workers by queue. `start` begins one, and resolves to the number of its attempts. */
function createWorkers(start: (queue: Queue) => Promise<number>) {
  const workers = new Map<string, Set<Promise<number>>>();
  return {
    /** Starts the workers that a queue lacks, also while others are busy with accounts that are hard to end. */
    startFor(queue: Queue): Promise<number>[] {
      const key = `${queue.phase} ${queue.connectionId}`;
      const busy = workers.get(key) ?? new Set();
      workers.set(key, busy);
      const most = atOnce[queue.phase];
      fill(busy, { most, start: () => start(queue), onEmpty: () => workers.delete(key) });
      return [...busy];
    },
    ended: () => Promise.all([...workers.values()].flatMap((busy) => [...busy])),
  };
}

/** Starts promises until there are `most`. Each leaves the set when it has settled. */
function fill(
  busy: Set<Promise<number>>,
  { most, start, onEmpty }: { most: number; start: () => Promise<number>; onEmpty: () => void },
): void {
  while (busy.size < most) {
    const started = start().finally(() => {
      busy.delete(started);
      if (busy.size === 0) onEmpty();
    });
    busy.add(started);
  }
}

/** Makes one attempt after the other at a queue until nothing more is due. Returns how many. */
async function endQueue(
  deps: LeaseEnderDeps,
  queue: Queue,
  mayContinue: (queue: Queue, outcome: Outcome | null) => boolean,
): Promise<number> {
  let outcome: Outcome | null = null;
  let attempts = 0;
  try {
    while (mayContinue(queue, outcome)) {
      outcome = await endNext(deps, queue);
      if (outcome === 'nothing') break;
      attempts += 1;
    }
  } catch (error) {
    deps.onError(error);
  }
  return attempts;
}
