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

/** The position of the sweep, which goes through batches of agents or resources (subjects) in id order. */
interface Place {
  /** The last subject before the current batch. */
  passed: string;
  /** The last grant that the current pass over the grants of the batch has read. */
  after: GrantOf;
  /** Whether the current pass has found any grant to end. */
  seen: boolean;
  /** How many grants the current pass has ended. */
  ended: number;
}

const startAfter = (passed: string): Place => ({
  passed,
  after: { of: '', grant: '' },
  seen: false,
  ended: 0,
});

/**
 * Writes as ended the grants that raised epochs have ended. Takes the agents and resources of `ended_epochs` in batches, and passes over
 * the open grants of a batch repeatedly until a pass ends no grant. If that pass found no grant that is to be ended, deletes the rows of
 * the batch from `ended_epochs`; otherwise other transactions had locked the grants, and the next run continues with them.
 */
export async function sweepEndedEpochs(sweep: EndedEpochsSweep): Promise<number> {
  return (await sweepKind(sweep, 'agent')) + (await sweepKind(sweep, 'resource'));
}

async function sweepKind({ inBatch, signal }: EndedEpochsSweep, kind: EpochKind): Promise<number> {
  let total = 0;
  let place: Place | undefined = startAfter('');
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
  return { rows, next: await afterPass(tx, { ended, last, from }) };
}

/** Returns the start of another pass over this batch if the last pass ended grants, else the start of the next batch. */
async function afterPass(
  tx: Tx,
  { ended, last, from }: { ended: readonly EndedEpoch[]; last: string; from: Place },
): Promise<Place> {
  if (!from.seen) await forgetEndedEpochs(tx, ended);
  return from.ended > 0 ? startAfter(from.passed) : startAfter(last);
}
