import { inject } from 'vitest';
import { agentOf } from '../../../support/broker.ts';
import { expectNothingLeft, revokeEverything } from './final-checks.ts';
import { type OperationName, operations } from './operations.ts';
import { type Lane, replaceSurvivor, type Scene } from './scene.ts';
import { endTransactions } from './transactions.ts';
import { startVictim, type Victim } from './victim.ts';

/** What one lane does in a round. */
export interface LanePlan {
  operation: OperationName;
  /** The message before which the broker dies, counted from 1; undefined if the operation ends first. */
  step: number | undefined;
}

/** How a broker ends: killed, or stopped until another replica has done its work. */
export type Ending = 'kill' | 'stop';

export interface LaneResult extends LanePlan {
  /** The messages between broker and target until the broker died. */
  messageCount: number;
  /** Whether the broker died before it had sent or received the message `step`. */
  wasInside: boolean;
}

/** Longer than every deadline and claim: 30 s for a change of an admin password. */
const sweepAfterSeconds = 60;

/**
 * How long a lease lasts that is made before the operation. If the broker is only stopped, the lease expires before the
 * sweep: the broker then continues with a lease that has ended.
 */
const ttlSeconds: Record<Ending, number> = { kill: 1_800, stop: 50 };

type Prepared = Awaited<ReturnType<(typeof operations)[OperationName]>>;

/**
 * Starts a broker that does one operation on each lane at the same time, and kills or stops it when each lane has come to its step. Then
 * sweeps with a replica that knows nothing but the database, and checks that nothing is left.
 */
export async function runRound(
  scene: Scene,
  { plans, ending }: { plans: readonly LanePlan[]; ending: Ending },
): Promise<LaneResult[]> {
  const { database, clock, known } = scene;
  const lanes = scene.lanes.slice(0, plans.length);
  const prepared = await prepareAll(scene, { plans, ttlSeconds: ttlSeconds[ending] });
  const victim = await startVictim({ databaseUrl: database.url, now: clock.now() });
  for (const [n, { gate }] of lanes.entries()) gate.arm(plans[n]?.step);
  const { requests } = await runAll(victim, lanes, prepared);

  if (ending === 'kill') await victim.kill();
  else victim.stop();
  for (const { gate } of lanes) gate.disarm();
  known.push(...victim.passwords());
  const results = plans.map((plan, n) => ({
    ...plan,
    messageCount: lanes[n]?.gate.messageCount() ?? 0,
    wasInside: lanes[n]?.gate.isHolding() ?? false,
  }));

  if (ending === 'stop') await endTransactions(inject('server').adminUrl, database.url);
  await replaceSurvivor(scene);
  scene.clock.advance(sweepAfterSeconds);
  await scene.survivor.sweep();
  // Without the comparison of the target with the leases: the leases alone say what must end.
  await expectNothingLeft(scene);
  if (ending === 'stop') {
    await continueVictim(victim, lanes, requests);
    known.push(...victim.passwords());
    scene.clock.advance(sweepAfterSeconds);
    await scene.survivor.sweep();
    // A target without a clock of its own may have made an account after its lease had ended.
    await scene.survivor.compare();
    await expectNothingLeft(scene);
    await victim.kill();
  }
  await revokeEverything(scene);
  return results;
}

async function prepareAll(
  scene: Scene,
  { plans, ttlSeconds }: { plans: readonly LanePlan[]; ttlSeconds: number },
): Promise<Prepared[]> {
  const { survivor } = scene;
  const token = (await agentOf(survivor, scene.agent).token().expect(200)).body.access_token;
  return Promise.all(
    plans.map(({ operation }, n) => {
      const lane = scene.lanes[n];
      if (lane === undefined) throw new Error('there are more plans than lanes');
      return operations[operation](scene, { lane, survivor, token, ttlSeconds });
    }),
  );
}

const pollMs = 10;
const mostPolls = 6_000;

/** Runs all operations until each has come to its step, or has ended. Returns the requests, of which some have no answer yet. */
async function runAll(
  victim: Victim,
  lanes: readonly Lane[],
  prepared: readonly Prepared[],
): Promise<{ requests: Promise<unknown> }> {
  const answered = new Set<number>();
  // A request whose broker dies fails.
  const requests = prepared.map(({ request }, n) =>
    Promise.resolve(request(victim))
      .catch(() => {})
      .finally(() => answered.add(n)),
  );
  victim.tell({ name: 'begin-endings' });
  const isUnderWay = async ({ gate }: Lane, n: number): Promise<boolean> =>
    !gate.isHolding() && !(answered.has(n) && (await prepared[n]?.isDone()) === true);
  for (let poll = 0; ; poll += 1) {
    const underWay: string[] = [];
    for (const [n, lane] of lanes.entries()) if (await isUnderWay(lane, n)) underWay.push(lane.admin);
    if (underWay.length === 0) return { requests: Promise.all(requests) };
    if (poll === mostPolls) throw new Error(`neither at their step nor done: ${underWay.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** Lets a stopped broker go on: first it notices how late it is, then its messages arrive. */
async function continueVictim(
  victim: Victim,
  lanes: readonly Lane[],
  requests: Promise<unknown>,
): Promise<void> {
  const advanced = victim.ask({ name: 'advance', seconds: sweepAfterSeconds });
  victim.continue();
  await advanced;
  for (const { gate } of lanes) gate.release();
  await requests;
  await victim.ask({ name: 'settle' });
}
