import type { Tx } from '../../db/database.ts';
import {
  type Batch,
  type EndedEpoch,
  type EpochKind,
  forgetEndedEpochs,
  type GrantOf,
  listEndedEpochs,
  sweepOutdated,
} from './store.ts';

export interface EndedEpochsSweep {
  /** Runs one batch in a transaction of its own. */
  inBatch: <T>(work: (tx: Tx, batch: Omit<Batch, 'from'>) => Promise<T>) => Promise<T>;
  /** If aborted, the current batch is the last one. */
  signal: AbortSignal;
}

/** How many agents or resources one batch covers: most have few open grants. */
const subjectsPerBatch = 20;

/** The position of the sweep: the last subject that is done, and the last grant read of the subjects after it. */
interface Place {
  passed: string;
  after: GrantOf;
  /** Whether the current walk over the grants of these subjects found any, and how many it ended. */
  seen: boolean;
  ended: number;
}

const startBehind = (passed: string): Place => ({
  passed,
  after: { of: '', grant: '' },
  seen: false,
  ended: 0,
});

/**
 * Writes as ended the grants that raised epochs have ended. Walks the grants of each agent and resource in id order
 * until a walk finds none, then deletes the subject's row of `ended_epochs`. Locked grants wait for the next run.
 */
export async function sweepEndedEpochs(sweep: EndedEpochsSweep): Promise<number> {
  return (await sweepKind(sweep, 'agent')) + (await sweepKind(sweep, 'resource'));
}

async function sweepKind({ inBatch, signal }: EndedEpochsSweep, kind: EpochKind): Promise<number> {
  let total = 0;
  let place: Place | undefined = startBehind('');
  while (place !== undefined && !signal.aborted) {
    const from: Place = place;
    const { rows, next } = await inBatch((tx, batch) => step(tx, batch, { kind, from }));
    total += rows;
    place = next;
  }
  return total;
}

async function step(
  tx: Tx,
  batch: Omit<Batch, 'from'>,
  { kind, from }: { kind: EpochKind; from: Place },
): Promise<{ rows: number; next: Place | undefined }> {
  const ended = await listEndedEpochs(tx, { kind, after: from.passed, limit: subjectsPerBatch });
  const last = ended.at(-1)?.id;
  if (last === undefined) return { rows: 0, next: undefined };
  const ids = ended.map(({ id }) => id);
  const { rows, until } = await sweepOutdated(tx, batch, { kind, ids, after: from.after });
  if (until !== null) {
    return { rows, next: { ...from, after: until, seen: true, ended: from.ended + rows } };
  }
  return { rows, next: await afterWalk(tx, { ended, last, from }) };
}

/** Returns the start of another walk over these subjects if this one ended grants, else over the next ones. */
async function afterWalk(
  tx: Tx,
  { ended, last, from }: { ended: readonly EndedEpoch[]; last: string; from: Place },
): Promise<Place> {
  if (!from.seen) await forgetEndedEpochs(tx, ended);
  return from.ended > 0 ? startBehind(from.passed) : startBehind(last);
}
