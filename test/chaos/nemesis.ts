import { setTimeout as sleep } from 'node:timers/promises';
import type { ChaosCluster, Slot } from './cluster.ts';
import type { Prng } from './prng.ts';

/** Something that was broken, from when until when. Milliseconds on the clock of the history. */
export interface Fault {
  kind: FaultKind;
  /** Absent: it struck them all. */
  replica: number | undefined;
  begunMs: number;
  /** When mending began; that takes its own time. */
  mendedMs: number;
  /** When it ran again: the process listened, PostgreSQL let sessions in. */
  backMs: number;
  /** Of a drain, how it ended. */
  note: string;
}

interface Strike {
  cluster: ChaosCluster;
  prng: Prng;
  slot: Slot;
  /** Called when mending begins. */
  mending(): void;
}

const port = (prng: Prng) => (prng.chance(0.5) ? 'same port' : 'another port');

/** Mostly short; now and then past every timeout that holds a transaction. */
const stopMs = (prng: Prng): number =>
  prng.chance(0.06) ? prng.between(8_000, 18_000) : prng.between(200, 2_500);

const replicaFaults = {
  async kill({ cluster, prng, slot, mending }: Strike) {
    await cluster.take(slot)?.kill();
    await sleep(prng.between(100, 1_500));
    mending();
    await cluster.start(slot, port(prng));
    return '';
  },
  async pause({ prng, slot, mending }: Strike) {
    const ms = stopMs(prng);
    slot.process?.child.kill('SIGSTOP');
    await sleep(ms);
    mending();
    slot.process?.child.kill('SIGCONT');
    return '';
  },
  async drain({ cluster, prng, slot, mending }: Strike) {
    const code = await cluster.take(slot)?.drain();
    mending();
    await cluster.start(slot, port(prng));
    return `exit ${code}`;
  },
};

const serverFault =
  (signal: 'SIGINT' | 'SIGQUIT') =>
  async ({ cluster, prng, mending }: Strike) => {
    await cluster.server.stop(signal);
    await sleep(prng.between(100, 2_500));
    mending();
    await cluster.server.start();
    return '';
  };

const serverFaults = {
  'stop PostgreSQL': serverFault('SIGINT'),
  'crash PostgreSQL': serverFault('SIGQUIT'),
};

export type FaultKind = keyof typeof replicaFaults | keyof typeof serverFaults;

interface Campaign {
  faults: Partial<Record<FaultKind, (strike: Strike) => Promise<string>>>;
  /** Milliseconds between two faults: at least and at most. */
  peaceMs: [number, number];
  /** Whether it hits one replica or all. */
  reach: 'one' | 'all';
}

const campaigns: Record<string, Campaign> = {
  replicas: { faults: replicaFaults, peaceMs: [500, 2_500], reach: 'one' },
  server: { faults: serverFaults, peaceMs: [4_000, 9_000], reach: 'all' },
};

const stepMs = 50;
const mostSteps = 200;

/** Waits, but not for ever, until every place has a process: on a slow machine no replica would come up otherwise. */
async function untilWhole({ slots }: ChaosCluster): Promise<void> {
  for (let step = 0; step < mostSteps && slots.some(({ process }) => process === undefined); step += 1)
    await sleep(stepMs);
}

async function wage(
  { faults, peaceMs, reach }: Campaign,
  options: { cluster: ChaosCluster; prng: Prng; untilMs: number; struck: Fault[] },
): Promise<void> {
  const { cluster, prng, untilMs, struck } = options;
  // In turn, so that even a short run has each; the seed says with which it begins.
  const kinds = prng.some(Object.keys(faults) as FaultKind[], Number.POSITIVE_INFINITY);
  for (let turn = 0; ; turn += 1) {
    await sleep(prng.between(...peaceMs));
    if (reach === 'all') await untilWhole(cluster);
    const begunMs = performance.now();
    if (begunMs >= untilMs) return;
    const kind = kinds[turn % kinds.length] as FaultKind;
    const slot = prng.pick(cluster.slots) as Slot;
    let mendedMs = begunMs;
    const mending = () => {
      mendedMs = performance.now();
    };
    const note = (await faults[kind]?.({ cluster, prng, slot, mending })) ?? '';
    const replica = reach === 'all' ? undefined : slot.replica;
    struck.push({ kind, replica, begunMs, mendedMs, backMs: performance.now(), note });
  }
}

/** Breaks things until `untilMs`, replicas and PostgreSQL independently of each other; all is mended when it resolves. */
export async function unleash(options: {
  cluster: ChaosCluster;
  prngOf: (name: string) => Prng;
  untilMs: number;
}): Promise<Fault[]> {
  const struck: Fault[] = [];
  await Promise.all(
    Object.entries(campaigns).map(([name, campaign]) =>
      wage(campaign, { ...options, prng: options.prngOf(`nemesis ${name}`), struck }),
    ),
  );
  return struck.sort((a, b) => a.begunMs - b.begunMs);
}
