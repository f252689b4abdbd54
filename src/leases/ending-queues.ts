import { statementBatches } from '../db/statement-batches.ts';
import { Batcher } from '../platform/batcher.ts';
import { createTurns } from '../platform/turns.ts';
import { createAttemptRate } from './attempt-rate.ts';
import type { LeasesDeps } from './deps.ts';
import { type Attempt, claimedUntil, claimLeases, openQueue, recordAttempts } from './end.ts';
import { createOutages, type Outages } from './outages.ts';
import { createQueueRunner, type QueueRunner } from './queue-runner.ts';
import { type ClaimedLease, extendClaims, type Phase, type Queue, type Turn } from './store/due.ts';

interface Deps extends LeasesDeps {
  onError: (error: unknown) => void;
}

export interface EndingQueues {
  /** Begins to end what is due in a queue. Resolves to the number of attempts that began. */
  fill(queue: Queue): Promise<number>;
  /** Permits further attempts. From the first call on, the rate of attempts is limited. */
  refillRate(): void;
  /** Extends the claims of the attempts under way. */
  extendClaims(): Promise<void>;
  /** Begins nothing more. */
  stop(): void;
  /** Resolves when no attempt at these queues is under way; at any queue, if none is named. */
  ended(queues?: readonly Queue[]): Promise<void>;
}

/**
 * How many leases of one connection this replica ends at the same time. What failed before has places of its own: any
 * number of accounts that are hard to end must not take those of the others.
 */
const atOnce: Record<Turn, Record<Phase, number>> = {
  first: { disable: 200, 'clean-up': 100 },
  again: { disable: 20, 'clean-up': 10 },
};
const turns: readonly Turn[] = ['first', 'again'];

/** Creates the queues in which a replica ends leases, two for each connection and phase. */
export function createEndingQueues(deps: Deps): EndingQueues {
  const { clock, onError } = deps;
  const outages = createOutages(clock);
  const runners = new Map<string, QueueRunner>();
  const attempts = createAttempts(deps, outages);
  const rate = createAttemptRate();
  let stopped = false;

  function runnerOf(queue: Queue, turn: Turn): QueueRunner {
    const key = keyOf(queue, turn);
    const known = runners.get(key);
    if (known !== undefined) return known;
    const claim = (limit: number) => claimLeases(deps, { ...queue, turn }, limit);
    const goOn = () => void runnerOf(queue, turn).fill();
    const runner = createQueueRunner<ClaimedLease>({
      most: atOnce[turn][queue.phase],
      claim: (limit) => rate.claim(queue.phase, limit, { claim, goOn }),
      begin: (leases) => attempts.begin(queue, leases),
      mayContinue: () => !stopped && !outages.isPaused(`${queue.phase} ${queue.connectionId}`),
      onIdle: () => runners.delete(key),
      onError,
    });
    runners.set(key, runner);
    return runner;
  }

  return {
    async fill(queue) {
      const begun = await Promise.all(turns.map((turn) => runnerOf(queue, turn).fill()));
      return begun.reduce((sum, count) => sum + count, 0);
    },
    refillRate: rate.refill,
    extendClaims: attempts.extendClaims,
    stop() {
      stopped = true;
    },
    async ended(queues) {
      const all = [...runners.values()];
      const named = queues?.flatMap((queue) => turns.map((turn) => runners.get(keyOf(queue, turn)))) ?? all;
      await Promise.all(named.map(async (runner) => runner?.ended()));
    },
  };
}

const keyOf = ({ connectionId, phase }: Queue, turn: Turn): string => `${turn} ${phase} ${connectionId}`;

/** Creates the attempts of a replica, which keep their claims and note which targets cannot be reached. */
function createAttempts(deps: Deps, outages: Outages) {
  const { db, clock } = deps;
  const underWay = new Map<string, ClaimedLease>();
  const record = createRecorder(deps);
  return {
    async begin(queue: Queue, leases: ClaimedLease[]): Promise<Promise<void>[]> {
      for (const lease of leases) underWay.set(lease.id, lease);
      const end = await openQueue(deps, queue);
      return leases.map(async (lease) => {
        const attempt = await end(lease);
        outages.notice(`${queue.phase} ${queue.connectionId}`, attempt.isOutage);
        underWay.delete(lease.id);
        await record(attempt);
      });
    },
    async extendClaims(): Promise<void> {
      if (underWay.size > 0) await extendClaims(db, [...underWay.values()], claimedUntil(clock.now()));
    },
  };
}

/** Creates a function that records attempts, those at the same time together. What cannot be recorded is tried again. */
function createRecorder(deps: Deps) {
  const records = new Batcher<Attempt, undefined>({
    ...statementBatches,
    turns: createTurns(deps.clock),
    async run(attempts) {
      await recordAttempts(deps, attempts);
      return attempts.map(() => undefined);
    },
  });
  return (attempt: Attempt): Promise<void> => records.submit(attempt).catch(deps.onError);
}
