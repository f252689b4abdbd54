import { setTimeout as sleep } from 'node:timers/promises';
import { checkHistory } from '../../chaos-checker/check.ts';
import type { History, Kind, Violation } from '../../chaos-checker/history.ts';
import {
  type Bounds,
  describeMissing,
  isOver,
  listMissing,
  type Missing,
  type NeededChances,
  type Needs,
  type Progress,
} from '../../chaos-checker/needs.ts';
import { atEnd } from '../../support/at-end.ts';
import { actAsAgent } from './actors/agent.ts';
import { createKeyKeeper } from './actors/key-keeper.ts';
import { actAsLeaseHolder } from './actors/leases.ts';
import { actAsAdmin, actAsApprover } from './actors/people.ts';
import { createPlayer, type Player, play, type Stage } from './actors/player.ts';
import { introspectSome } from './actors/tokens.ts';
import { type ChaosCluster, startChaosCluster } from './cluster.ts';
import { allQuiet, lookBack } from './final-checks.ts';
import { type Fault, faultKinds, unleash } from './nemesis.ts';
import { type Owner, openOwner } from './owner.ts';
import { type PlantName, plant, plants } from './plants.ts';
import { createPrng, type Prng } from './prng.ts';
import { createRecorder } from './recorder.ts';
import { type AgentTerms, createWorld, type World } from './world.ts';

export interface ChaosOptions extends Bounds {
  seed: string;
  /** How often operations of each kind must succeed. */
  successes?: Needs['successes'];
  /** The faults to plant, one for each agent from the first on. */
  plants?: readonly PlantName[];
  /** Whether every kind of fault must occur. Without a nemesis there are no faults, and more operations. */
  nemesis?: 'unleashed' | 'absent';
}

export interface ChaosRun {
  /** The duration of the actors' operations. */
  seconds: number;
  /** The requirements that were not met. */
  missing: string[];
  history: History;
  violations: Violation[];
  faults: Fault[];
  deaths: string[];
  /** The agents for which a fault was planted. */
  victims: ReadonlyMap<string, PlantName>;
}

/** The name of the actor that makes the final reads. */
export const witnessName = 'witness';
const allAgents: readonly AgentTerms[] = [
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', exchanges: 'any' },
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', isBound: true, exchanges: 'any' },
  { proof: 'secret', exchanges: 'any' },
  { proof: 'key', exchanges: 'any' },
];
const actorsPerAgent = 2;
const resourceServers = 2;
/** The pause of an actor between two steps, in milliseconds. */
const thinkMs: [number, number] = [1, 40];

interface Play {
  stage: Stage;
  owner: Owner;
  prngOf: (name: string) => Prng;
  /** Aborted when the run is over. */
  over: AbortSignal;
}

/** Runs all actors, each with its own random choices, until the run is over. */
async function playAll({ stage, owner, prngOf, over }: Play): Promise<void> {
  const { agents, approvers } = stage.world;
  const cast = (name: string, step: (player: Player) => Promise<void>, pauseMs = thinkMs): Promise<void> => {
    const player = createPlayer(stage, name, prngOf(name));
    return play(player, () => step(player), { over, thinkMs: pauseMs });
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
    cast('lease holder', createLeaseHolders(agents), thinkMs),
    cast('admin', actAsAdmin, [10, 80]),
    cast('key keeper', createKeyKeeper(owner), [1_000, 3_000]),
  ]);
}

/** Returns the step of an actor that holds leases as each agent in turn. */
function createLeaseHolders(agents: World['agents']): (player: Player) => Promise<void> {
  const holders = agents.filter(({ holdsLeases }) => holdsLeases);
  let turn = 0;
  return async (player) => {
    const agent = holders[turn % holders.length];
    turn += 1;
    if (agent !== undefined) await actAsLeaseHolder(player, agent);
  };
}

/** The terms of agents that never exchange tokens of others. */
const innocents: readonly AgentTerms[] = [
  { proof: 'secret', exchanges: 'none', lends: true },
  { proof: 'key', exchanges: 'none', lends: true },
];

/**
 * Creates the victims first, each with the properties that its fault needs, then other agents, which must not appear
 * in a violation.
 */
function castFor(names: readonly PlantName[]): readonly AgentTerms[] {
  if (names.length === 0) return allAgents;
  // The others hold no leases, so that the victims that need leases have enough.
  const victimOf = (name: PlantName): AgentTerms => ({
    ...plants[name].victim,
    holdsLeases: plants[name].finds.startsWith('lease'),
  });
  return [...names.map(victimOf), ...innocents];
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

const leastChances = 3;

const neededChances = (victims: ReadonlyMap<string, PlantName>): NeededChances[] =>
  [...victims].map(([agentId, plant]) => ({
    plant,
    agentId,
    count: plants[plant].chances,
    least: leastChances,
    madeBy: plants[plant].madeBy,
  }));

const lookEveryMs = 500;

/** Resolves when the run is over. Calls `report` with the missing requirements at each check. */
async function watch(
  { bounds, needs, look }: { bounds: Bounds; needs: Needs; look: () => Promise<Progress> },
  report: (missing: Missing[]) => void,
): Promise<void> {
  const begunMs = performance.now();
  for (;;) {
    const missing = listMissing(needs, await look());
    report(missing);
    if (isOver(bounds, { elapsedSeconds: (performance.now() - begunMs) / 1000, missing })) return;
    await sleep(lookEveryMs);
  }
}

/** Runs all tasks until the first of them ends (normally the watch) or fails; the others then end, too. */
async function untilFirstEnds(over: AbortController, tasks: readonly Promise<unknown>[]): Promise<void> {
  try {
    await Promise.race(tasks);
  } finally {
    over.abort();
    await Promise.allSettled(tasks);
  }
  await Promise.all(tasks);
}

/** Reads which grants are stored as ended, without regard to their expiry. */
async function readStoredAsEnded(owner: Owner): Promise<ReadonlySet<string>> {
  const rows = await owner.tryQuery<{ id: string }>(
    `select id from grants where status not in ('pending', 'scheduled', 'active')`,
  );
  return new Set(rows?.map(({ id }) => id));
}

async function stop({ slots, take, server }: ChaosCluster): Promise<void> {
  await Promise.all(slots.map(async (slot) => take(slot)?.kill()));
  await server.stop('SIGQUIT');
}

/** Prepares a run before the actors start. */
async function prepare({ plants: planted = [] }: ChaosOptions) {
  const cluster = await startChaosCluster();
  const owner = openOwner(cluster.server.ownerUrl);
  const [first] = cluster.slots;
  const agents = castFor(planted);
  const world = await createWorld(first?.url ?? '', {
    ...{ adminKey: cluster.bootstrapKey, agents, target: cluster.target },
  });
  const victims = await plantAll(owner, world, planted);
  const recorder = createRecorder();
  atEnd(async () => recorder.close());
  return { cluster, owner, world, victims, recorder };
}

/**
 * Runs all actors during faults until the requirements are met or the limit is reached. Then waits for all repairs,
 * reads the final state and checks the history.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosRun> {
  const { seed, successes = {}, nemesis = 'unleashed' } = options;
  const { cluster, owner, world, victims, recorder } = await prepare(options);
  const { operations } = recorder;
  const needs: Needs = {
    successes,
    faults: nemesis === 'absent' ? [] : faultKinds,
    chances: neededChances(victims),
  };
  let missing: Missing[] = listMissing(needs, { operations: [], faults: [], storedAsEnded: new Set() });
  const lacks = (kind: Kind): boolean => missing.some(({ madeBy }) => madeBy.includes(kind));
  const stage = { recorder, world, targets: cluster.slots, lacks };
  const prngOf = (name: string) => createPrng(seed, name);
  const controller = new AbortController();
  const over = controller.signal;
  const faults: Fault[] = [];
  const look = async () => ({ operations, faults, storedAsEnded: await readStoredAsEnded(owner) });
  const begunMs = performance.now();
  await untilFirstEnds(controller, [
    watch({ bounds: options, needs, look }, (now) => {
      missing = now;
    }),
    playAll({ stage, owner, prngOf, over }),
    ...(nemesis === 'absent' ? [] : [unleash({ cluster, prngOf, over, struck: faults })]),
  ]);
  const seconds = (performance.now() - begunMs) / 1000;
  const witness = createPlayer(stage, witnessName, prngOf(witnessName));
  await allQuiet(witness, owner);
  const finalState = await lookBack(witness, { owner, target: cluster.target });
  const history = { operations, finalState };
  await stop(cluster);
  return {
    seconds,
    missing: missing.map(describeMissing),
    history,
    violations: checkHistory(history),
    faults: faults.sort((a, b) => a.begunMs - b.begunMs),
    deaths: [...cluster.deaths],
    victims,
  };
}
