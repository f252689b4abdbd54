import { atEnd } from '../support/at-end.ts';
import { actAsAgent } from './actors/agent.ts';
import { createKeyKeeper } from './actors/key-keeper.ts';
import { actAsAdmin, actAsApprover } from './actors/people.ts';
import { createPlayer, type Player, play, type Stage } from './actors/player.ts';
import { introspectSome } from './actors/tokens.ts';
import { checkHistory } from './check.ts';
import { type ChaosCluster, startChaosCluster } from './cluster.ts';
import { allQuiet, lookBack } from './finale.ts';
import type { History, Violation } from './history.ts';
import { type Fault, unleash } from './nemesis.ts';
import { type Owner, openOwner } from './owner.ts';
import { type PlantName, plant, plants } from './plants.ts';
import { createPrng, type Prng } from './prng.ts';
import { createRecorder } from './recorder.ts';
import { type AgentTerms, createWorld, type World } from './world.ts';

export interface ChaosOptions {
  seconds: number;
  seed: string;
  /** Planted in this order, one for each agent from the first on. */
  plants?: readonly PlantName[];
  /** Without a nemesis nothing fails, and more happens. */
  nemesis?: 'unleashed' | 'absent';
}

export interface ChaosRun {
  seconds: number;
  history: History;
  violations: Violation[];
  faults: Fault[];
  deaths: string[];
  /** The agents that a fault was planted for. */
  victims: ReadonlyMap<string, PlantName>;
}

/** Who looks at everything at the end. */
export const witnessName = 'witness';
const everybody: readonly AgentTerms[] = [
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', exchanges: 'any' },
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', isBound: true, exchanges: 'any' },
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', exchanges: 'any' },
];
const actorsPerAgent = 2;
const resourceServers = 2;
/** What an actor does between two steps, in milliseconds. */
const thinkMs: [number, number] = [1, 40];

/** Everybody, each with choices of their own, until `untilMs`. */
async function playAll(
  stage: Stage,
  options: { owner: Owner; prngOf: (name: string) => Prng; untilMs: number },
): Promise<void> {
  const { owner, prngOf, untilMs } = options;
  const { agents, approvers } = stage.world;
  const cast = (name: string, step: (player: Player) => Promise<void>, pauseMs = thinkMs): Promise<void> => {
    const player = createPlayer(stage, name, prngOf(name));
    return play(player, () => step(player), { untilMs, thinkMs: pauseMs });
  };
  await Promise.all([
    ...agents.flatMap((agent, n) =>
      Array.from({ length: actorsPerAgent }, (_, m) =>
        cast(`agent ${n + 1}.${m + 1}`, (player) => actAsAgent(player, agent)),
      ),
    ),
    ...approvers.map((person, n) =>
      cast(`approver ${n + 1}`, (player) => actAsApprover(player, person), [60, 250]),
    ),
    ...Array.from({ length: resourceServers }, (_, n) => cast(`resource server ${n + 1}`, introspectSome)),
    cast('admin', actAsAdmin, [10, 80]),
    cast('key keeper', createKeyKeeper(owner), [1_000, 3_000]),
  ]);
}

/** Among whom nobody exchanges tokens of others. */
const innocents: readonly AgentTerms[] = [
  { proof: 'secret', exchanges: 'none', lends: true },
  { proof: 'key', exchanges: 'none', lends: true },
];

/** The victims first, each as its fault needs it, and others, who must not be accused of anything. */
function castFor(names: readonly PlantName[]): readonly AgentTerms[] {
  if (names.length === 0) return everybody;
  return [...names.map((name) => plants[name].victim), ...innocents];
}

async function plantAll(owner: Owner, world: World, names: readonly PlantName[]) {
  const victims = new Map<string, PlantName>();
  for (const [n, name] of names.entries()) {
    const victim = world.agents[n];
    if (victim === undefined) throw new Error('a fault without a victim');
    await plant(owner, name, victim);
    victims.set(victim.id, name);
  }
  return victims;
}

async function stop({ slots, take, server }: ChaosCluster): Promise<void> {
  await Promise.all(slots.map(async (slot) => take(slot)?.kill()));
  await server.stop('SIGQUIT');
}

/** Lets everybody act while things break, mends everything, looks back and checks the history. */
export async function runChaos(options: ChaosOptions): Promise<ChaosRun> {
  const { seconds, seed, plants: planted = [], nemesis = 'unleashed' } = options;
  const cluster = await startChaosCluster();
  const owner = openOwner(cluster.server.ownerUrl);
  const [first] = cluster.slots;
  const agents = castFor(planted);
  const world = await createWorld(first?.url ?? '', { adminKey: cluster.bootstrapKey, agents });
  const victims = await plantAll(owner, world, planted);
  const recorder = createRecorder();
  atEnd(async () => recorder.close());
  const stage = { recorder, world, targets: cluster.slots };
  const prngOf = (name: string) => createPrng(seed, name);
  const untilMs = performance.now() + seconds * 1000;
  const striking =
    nemesis === 'absent' ? Promise.resolve<Fault[]>([]) : unleash({ cluster, prngOf, untilMs });
  await playAll(stage, { owner, prngOf, untilMs });
  const faults = await striking;
  const witness = createPlayer(stage, witnessName, prngOf(witnessName));
  await allQuiet(witness, owner);
  const ending = await lookBack(witness, owner);
  const history = { operations: recorder.operations, ending };
  const { deaths } = cluster;
  await stop(cluster);
  return { seconds, history, violations: checkHistory(history), faults, deaths: [...deaths], victims };
}
