import { setTimeout as sleep } from 'node:timers/promises';
import type { Kind } from '../../../chaos-checker/history.ts';
import type { Prng } from '../prng.ts';
import type { Intent, Performed, Recorder, Target } from '../recorder.ts';
import type { AgentModel, HeldGrant, World } from '../world.ts';

/** The environment of the actors. */
export interface Stage {
  recorder: Recorder;
  world: World;
  /** Every replica, including those that are down. */
  targets: readonly Target[];
  /** Whether the run needs more successful operations of this kind. */
  lacks(kind: Kind): boolean;
}

export type Act = Omit<Intent, 'actor' | 'target'>;

/** An actor. It does one step after another, each on a random replica unless the step names one. */
export interface Player extends Stage {
  name: string;
  prng: Prng;
  perform(act: Act, target?: Target): Promise<Performed>;
}

const backOffMs: [number, number] = [20, 120];

export function createPlayer(stage: Stage, name: string, prng: Prng): Player {
  return {
    ...stage,
    name,
    prng,
    async perform(act, target = prng.pick(stage.targets) as Target) {
      const { replica, url } = target;
      const performed = await stage.recorder.perform({ ...act, actor: name, target: { replica, url } });
      // A retry without a pause would only be refused again while the replica is down.
      const { outcome, status } = performed.operation;
      if (outcome === 'unknown' || status === undefined) await sleep(prng.between(...backOffMs));
      return performed;
    },
  };
}

/** Repeats `step`, with pauses, until the run is over. */
export async function play(
  player: Player,
  step: () => Promise<unknown>,
  { over, thinkMs }: { over: AbortSignal; thinkMs: [number, number] },
): Promise<void> {
  while (!over.aborted) {
    await step();
    await sleep(player.prng.between(...thinkMs));
  }
}

/** A step of an actor: its frequency, and the kinds of operations it is for. */
export type WeightedStep<Step> = readonly [weight: number, step: Step, kinds: readonly Kind[]];

const preference = 6;

/** Picks a step. Steps for operations that the run still needs are more likely. */
export function pickStep<Step>({ prng, lacks }: Player, steps: readonly WeightedStep<Step>[]): Step {
  return prng.weighted(
    steps.map(([weight, step, kinds]) => [kinds.some(lacks) ? weight * preference : weight, step] as const),
  );
}

/** Adds an item to the known ones. The oldest is dropped. */
export function keep<Item>(items: Item[], item: Item, most = 40): void {
  items.push(item);
  if (items.length > most) items.shift();
}

/**
 * Picks a grant of the agent: mostly one that was `status` when last read, sometimes any, so that invalid operations
 * are tried too.
 */
export function pickGrant({ prng }: Player, agent: AgentModel, status: string): HeldGrant | undefined {
  const likely = agent.grants.filter((grant) => grant.status === status);
  // Pending grants are decided soon: only the newest may still be pending.
  const newest = status === 'pending' ? 2 : 8;
  return prng.pick(likely.length > 0 && prng.chance(0.7) ? likely.slice(-newest) : agent.grants.slice(-15));
}
