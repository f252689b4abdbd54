import { setTimeout as sleep } from 'node:timers/promises';
import type { Prng } from '../prng.ts';
import type { Intent, Performed, Recorder, Target } from '../recorder.ts';
import type { AgentModel, HeldGrant, World } from '../world.ts';

/** Where everything happens. */
export interface Stage {
  recorder: Recorder;
  world: World;
  /** Every replica, whether it answers now or not. */
  targets: readonly Target[];
}

export type Act = Omit<Intent, 'actor' | 'target'>;

/** One who acts: does one thing after the other, each at a replica that chance picks, unless it says which. */
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
      // Whoever asks again at once, and again, is answered nothing but that it is down.
      const { outcome, status } = performed.operation;
      if (outcome === 'unknown' || status === undefined) await sleep(prng.between(...backOffMs));
      return performed;
    },
  };
}

/** Repeats `step`, with a pause to think, until `untilMs`. */
export async function play(
  player: Player,
  step: () => Promise<unknown>,
  { untilMs, thinkMs }: { untilMs: number; thinkMs: [number, number] },
): Promise<void> {
  while (performance.now() < untilMs) {
    await step();
    await sleep(player.prng.between(...thinkMs));
  }
}

/** Adds to what is known; the oldest is forgotten. */
export function keep<Item>(items: Item[], item: Item, most = 40): void {
  items.push(item);
  if (items.length > most) items.shift();
}

/** A grant of the agent, mostly one that was `status` when last seen, now and then any: what cannot be done is tried too. */
export function pickGrant({ prng }: Player, agent: AgentModel, status: string): HeldGrant | undefined {
  const likely = agent.grants.filter((grant) => grant.status === status);
  // What waits is soon decided: only the newest may still wait.
  const newest = status === 'pending' ? 2 : 8;
  return prng.pick(likely.length > 0 && prng.chance(0.7) ? likely.slice(-newest) : agent.grants.slice(-15));
}
