import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosCluster, Slot } from './cluster.ts';
import type { Prng } from './prng.ts';

/** A fault and its duration, in milliseconds on the clock of the history. */
export interface Fault {
  kind: FaultKind;
  /** Absent if the fault affected all replicas. */
  replica: number | undefined;
  begunMs: number;
  /** When the repair began; it takes some time. */
  repairedMs: number;
  /** When it was repaired: the process listened, or PostgreSQL accepted sessions. */
  backMs: number;
  /** For a drain, how the process ended. */
  note: string;
}

interface Strike {
  cluster: ChaosCluster;
  prng: Prng;
  slot: Slot;
  /** Called when the repair begins. */
  repairing(): void;
}

const port = (prng: Prng) => (prng.chance(0.5) ? 'same port' : 'another port');

/** Returns the duration of a pause: mostly short, sometimes longer than every timeout of a transaction. */
const stopMs = (prng: Prng): number =>
  prng.chance(0.06) ? prng.between(8_000, 18_000) : prng.between(200, 2_500);

const replicaFaults = {
  async kill({ cluster, prng, slot, repairing }: Strike) {
    await cluster.take(slot)?.kill();
    await sleep(prng.between(100, 1_500));
    repairing();
    await cluster.start(slot, port(prng));
    return '';
  },
  async pause({ prng, slot, repairing }: Strike) {
    const ms = stopMs(prng);
    slot.process?.child.kill('SIGSTOP');
    await sleep(ms);
    repairing();
    slot.process?.child.kill('SIGCONT');
    return '';
  },
  async drain({ cluster, prng, slot, repairing }: Strike) {
    const code = await cluster.take(slot)?.drain();
    repairing();
    await cluster.start(slot, port(prng));
    return `exit ${code}`;
  },
};

const serverFault =
  (signal: 'SIGINT' | 'SIGQUIT') =>
  async ({ cluster, prng, repairing }: Strike) => {
    await cluster.server.stop(signal);
    await sleep(prng.between(100, 2_500));
    repairing();
    await cluster.server.start();
    return '';
  };

const serverFaults = {
  'stop PostgreSQL': serverFault('SIGINT'),
  'crash PostgreSQL': serverFault('SIGQUIT'),
};

export type FaultKind = keyof typeof replicaFaults | keyof typeof serverFaults;
export const faultKinds = Object.keys({ ...replicaFaults, ...serverFaults }) as FaultKind[];

interface Campaign {
  faults: Partial<Record<FaultKind, (strike: Strike) => Promise<string>>>;
  /** The minimum and maximum time between two faults, in milliseconds. */
  peaceMs: [number, number];
  /** Whether the faults affect one replica or all of them. */
  reach: 'one' | 'all';
}

const campaigns: Record<string, Campaign> = {
  replicas: { faults: replicaFaults, peaceMs: [500, 2_500], reach: 'one' },
  server: { faults: serverFaults, peaceMs: [4_000, 9_000], reach: 'all' },
};

const stepMs = 50;

/** Waits for `ms`, or until the run is over. */
const pause = (ms: number, over: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal: over }).catch(() => undefined);

/** Waits until every slot has a process: on a slow machine no replica would start between two stops of PostgreSQL. */
async function untilWhole({ slots }: ChaosCluster, over: AbortSignal): Promise<void> {
  while (!over.aborted && slots.some(({ process }) => process === undefined)) await pause(stepMs, over);
}

export interface Nemesis {
  cluster: ChaosCluster;
  prngOf: (name: string) => Prng;
  /** Aborted when the run is over. */
  over: AbortSignal;
  /** Each fault is added here after its repair. */
  struck: Fault[];
}

async function wage(
  { faults, peaceMs, reach }: Campaign,
  { cluster, prng, over, struck }: Omit<Nemesis, 'prngOf'> & { prng: Prng },
): Promise<void> {
  // The kinds take turns, so that even a short run has each of them; the seed determines the first one.
  const kinds = prng.some(Object.keys(faults) as FaultKind[], Number.POSITIVE_INFINITY);
  for (let turn = 0; ; turn += 1) {
    await pause(prng.between(...peaceMs), over);
    if (reach === 'all') await untilWhole(cluster, over);
    if (over.aborted) return;
    const begunMs = performance.now();
    const kind = kinds[turn % kinds.length] as FaultKind;
    const slot = prng.pick(cluster.slots) as Slot;
    let repairedMs = begunMs;
    const repairing = () => {
      repairedMs = performance.now();
    };
    const note = (await faults[kind]?.({ cluster, prng, slot, repairing })) ?? '';
    const replica = reach === 'all' ? undefined : slot.replica;
    struck.push({ kind, replica, begunMs, repairedMs, backMs: performance.now(), note });
  }
}

/**
 * Causes faults until the run is over, in replicas and PostgreSQL independently. When it resolves, all are repaired.
 */
export async function unleash(nemesis: Nemesis): Promise<void> {
  await Promise.all(
    Object.entries(campaigns).map(([name, campaign]) =>
      wage(campaign, { ...nemesis, prng: nemesis.prngOf(`nemesis ${name}`) }),
    ),
  );
}
