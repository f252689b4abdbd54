import { type Repeat, repeat } from '../platform/repeat.ts';
import { refillMs } from './attempt-rate.ts';
import type { LeasesDeps } from './deps.ts';
import { revokeUnderEndedGrants } from './end.ts';
import { createEndingQueues } from './ending-queues.ts';
import { createPolicyCheck } from './policy-check.ts';
import { listDueQueues, type Queue } from './store/due.ts';

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
const extendMs = 2_000;
/**
 * Ends leases on this replica. Every replica may have one: the database decides which ends a lease. Each target has queues of
 * its own, so that one which cannot be reached delays no other, and the end of access waits for no clean-up. Nothing about
 * leases is kept in memory, except which are under way and which targets are out of reach.
 */
export function createLeaseEnder(deps: LeaseEnderDeps): LeaseEnder {
  const { db, clock, onError } = deps;
  const checkPolicies = createPolicyCheck(deps);
  const queues = createEndingQueues(deps);
  const every = (ms: number, run: () => Promise<unknown>): Repeat =>
    repeat({ clock, intervalMs: ms, onError, run: async () => void (await run()) });
  let stopped = false;
  let repeats: Repeat[] | undefined;

  /** Begins to end what is due. Returns the queues, and the number of attempts that began. */
  async function look(): Promise<{ due: Queue[]; begun: number }> {
    // What has expired must end also while this query fails.
    await revokeUnderEndedGrants(deps).catch(onError);
    const due = await listDueQueues(db, clock.now());
    if (stopped) return { due, begun: 0 };
    const begun = await Promise.all(due.map(queues.fill));
    return { due, begun: begun.reduce((sum, count) => sum + count, 0) };
  }

  return {
    start() {
      repeats ??= [
        every(refillMs, async () => queues.refillRate()),
        every(intervalMs, look),
        every(extendMs, queues.extendClaims),
        // Apart from the others, because deciding about many grants takes time.
        every(2 * intervalMs, checkPolicies),
      ];
    },
    async runNow() {
      await checkPolicies();
      // What has lost its access in one round is cleaned up in the next.
      for (let hasMore = true; hasMore; ) {
        const { due, begun } = await look();
        await queues.ended(due);
        hasMore = begun > 0;
      }
    },
    async stop() {
      stopped = true;
      queues.stop();
      // Claims are extended until the last attempt has ended.
      await queues.ended();
      await Promise.all(repeats?.map((each) => each.stop()) ?? []);
    },
  };
}
