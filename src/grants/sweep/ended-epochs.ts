import type { Tx } from '../../db/database.ts';
import {
  type Batch,
  type EndedEpoch,
  forgetEndedEpochs,
  type GrantOf,
  listEndedEpochs,
  type SubjectKind,
  sweepOutdated,
} from './store.ts';

export interface EndedEpochsSweep {
  /** Runs one batch in a transaction of its own. */
  inBatch: <T>(work: (tx: Tx, batch: Omit<Batch, 'from'>) => Promise<T>) => Promise<T>;
  /** Aborted: the batch that is under way is the last. */
  signal: AbortSignal;
}

/** So many are looked at together: most agents have few open grants. */
const together = 20;

/** Where the sweep is: which subjects it has passed, and up to which grant it has seen those behind them. */
interface Place {
  passed: string;
  after: GrantOf;
  /** Of the walk over the grants of these subjects that is under way: whether there was any, and how many were ended. */
  seen: boolean;
  ended: number;
}

const startBehind = (passed: string): Place => ({
  passed,
  after: { subject: '', grant: '' },
  seen: false,
  ended: 0,
});

/**
 * Writes down as ended what raised epochs have ended. The grants of each subject are walked in the order of their ids until
 * a walk meets none: then the subject is forgotten. One whose grants others hold waits for the next run.
 */
export async function sweepEndedEpochs(sweep: EndedEpochsSweep): Promise<number> {
  return (await sweepKind(sweep, 'agent')) + (await sweepKind(sweep, 'resource'));
}

async function sweepKind({ inBatch, signal }: EndedEpochsSweep, kind: SubjectKind): Promise<number> {
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
  { kind, from }: { kind: SubjectKind; from: Place },
): Promise<{ rows: number; next: Place | undefined }> {
  const ended = await listEndedEpochs(tx, { kind, after: from.passed, limit: together });
  const last = ended.at(-1)?.subjectId;
  if (last === undefined) return { rows: 0, next: undefined };
  const subjectIds = ended.map(({ subjectId }) => subjectId);
  const { rows, until } = await sweepOutdated(tx, batch, { kind, subjectIds, after: from.after });
  if (until !== null) {
    return { rows, next: { ...from, after: until, seen: true, ended: from.ended + rows } };
  }
  return { rows, next: await afterWalk(tx, { ended, last, from }) };
}

/** Again from the first grant, if the walk ended some; else on to the next subjects. */
async function afterWalk(
  tx: Tx,
  { ended, last, from }: { ended: readonly EndedEpoch[]; last: string; from: Place },
): Promise<Place> {
  if (!from.seen) await forgetEndedEpochs(tx, ended);
  return from.ended > 0 ? startBehind(from.passed) : startBehind(last);
}
