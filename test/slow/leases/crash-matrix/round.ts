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
  /** The number, from 1, of the message that is held when the broker is killed or stopped; undefined to let the operation finish. */
  step: number | undefined;
}

/** How a broker is interrupted: killed, or stopped until another replica has done its work. */
export type Interruption = 'kill' | 'stop';

export interface LaneResult extends LanePlan {
  /** How many messages broker and target exchanged, including the first that was held. */
  messageCount: number;
  /** Whether a message was held when the broker was killed or stopped. */
  wasInterrupted: boolean;
}

/** Longer than every deadline and claim. The longest is 30 s, for a change of an admin password. */
const sweepAfterSeconds = 60;

/**
 * How long the leases last that are made before the operation. If the broker is only stopped, they expire before the sweep, so that
 * the broker continues with leases that have ended.
 */
const ttlSeconds: Record<Interruption, number> = { kill: 1_800, stop: 50 };

type Prepared = Awaited<ReturnType<(typeof operations)[OperationName]>>;

/**
 * Starts a broker that does one operation on each lane at the same time, and kills or stops the broker when each lane has reached its step or has
 * finished. Then sweeps with a replica that knows nothing but the database, and checks that nothing is left.
 */
export async function runRound(
  scene: Scene,
  { plans, interruption }: { plans: readonly LanePlan[]; interruption: Interruption },
): Promise<LaneResult[]> {
  const { database, clock, known } = scene;
  const lanes = scene.lanes.slice(0, plans.length);
  const prepared = await prepareAll(scene, { plans, ttlSeconds: ttlSeconds[interruption] });
  const victim = await startVictim({ databaseUrl: database.url, now: clock.now() });
  for (const [n, { gate }] of lanes.entries()) gate.arm(plans[n]?.step);
  const { requests } = await runAll(victim, lanes, prepared);

  if (interruption === 'kill') await victim.kill();
  else victim.stop();
  for (const { gate } of lanes) gate.disarm();
  known.push(...victim.passwords());
  const results = plans.map((plan, n) => ({
    ...plan,
    messageCount: lanes[n]?.gate.messageCount() ?? 0,
    wasInterrupted: lanes[n]?.gate.isHolding() ?? false,
  }));

  if (interruption === 'stop') await endTransactions(inject('server').adminUrl, database.url);
  await replaceSurvivor(scene);
  scene.clock.advance(sweepAfterSeconds);
  await scene.survivor.sweep();
  // Not `compare()` yet: what must end has to follow from the rows of the leases alone.
  await expectNothingLeft(scene);
  if (interruption === 'stop') {
    await continueVictim(victim, lanes, requests);
    known.push(...victim.passwords());
    scene.clock.advance(sweepAfterSeconds);
    await scene.survivor.sweep();
    // A target that cannot check a deadline may have made an account after its lease had ended.
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

/** Runs all operations until each has reached its step or has finished. Returns their requests, some of which have no answer yet. */
async function runAll(
  victim: Victim,
  lanes: readonly Lane[],
  prepared: readonly Prepared[],
): Promise<{ requests: Promise<unknown> }> {
  const answered = new Set<number>();
  // A request fails if its broker is killed.
  const requests = prepared.map(({ request }, n) =>
    Promise.resolve(request(victim))
      .catch(() => {})
      .finally(() => answered.add(n)),
  );
  victim.tell({ name: 'begin-ending-leases' });
  const isUnderWay = async ({ gate }: Lane, n: number): Promise<boolean> =>
    !gate.isHolding() && !(answered.has(n) && (await prepared[n]?.isDone()) === true);
  for (let poll = 0; ; poll += 1) {
    const underWay: string[] = [];
    for (const [n, lane] of lanes.entries()) if (await isUnderWay(lane, n)) underWay.push(lane.admin);
    if (underWay.length === 0) return { requests: Promise.all(requests) };
    if (poll === mostPolls)
      throw new Error(`these lanes have neither reached their step nor finished: ${underWay.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** Continues a stopped broker: first it finds its clock advanced, then the held messages arrive. */
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
