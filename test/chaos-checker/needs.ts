import type { CountChances } from './chances.ts';
import { factsOf } from './facts.ts';
import { isOk, type Kind, kinds, type Operation } from './history.ts';

/** The requirements for a run. A run that does not meet them proves nothing. */
export interface Needs {
  /** How often operations of each kind must succeed. */
  successes: Readonly<Partial<Record<Kind, number>>>;
  /** The kinds of faults. Each must occur at least once. */
  faults: readonly string[];
  /** The planted faults. Each needs several opportunities to be found. */
  chances: readonly NeededChances[];
}

export interface NeededChances {
  plant: string;
  /** The agent that the planted fault affects. */
  agentId: string;
  count: CountChances;
  least: number;
  /** The kinds of operations that create such opportunities. */
  madeBy: readonly Kind[];
}

/** The operations that a run contains so far. */
export interface Progress {
  operations: readonly Operation[];
  /** The faults that occurred and were repaired. */
  faults: readonly { kind: string }[];
  /** The grants that the database stores as ended. */
  storedAsEnded: ReadonlySet<string>;
}

/** A requirement that is not yet met. */
export interface Missing {
  name: string;
  count: number;
  least: number;
  /** The kinds of operations that would help to meet it. */
  madeBy: readonly Kind[];
}

function countSuccesses(operations: readonly Operation[]): ReadonlyMap<Kind, number> {
  const counts = new Map<Kind, number>();
  for (const { kind } of operations.filter(isOk)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

/** Lists the requirements that a run does not yet meet. That of an operation is listed under its kind. */
export function listMissing(needs: Needs, { operations, faults, storedAsEnded }: Progress): Missing[] {
  const successes = countSuccesses(operations);
  const evidence = needs.chances.length === 0 ? undefined : { ...factsOf({ operations }), storedAsEnded };
  const counted: Missing[] = [
    ...kinds.map((kind) => ({
      name: kind,
      count: successes.get(kind) ?? 0,
      least: needs.successes[kind] ?? 0,
      madeBy: [kind],
    })),
    ...needs.faults.map((name) => ({
      name: `fault "${name}"`,
      count: faults.filter(({ kind }) => kind === name).length,
      least: 1,
      madeBy: [],
    })),
    ...needs.chances.map(({ plant, agentId, count, least, madeBy }) => ({
      name: `chance to find "${plant}"`,
      count: evidence === undefined ? 0 : count(evidence, agentId),
      least,
      madeBy,
    })),
  ];
  return counted.filter(({ count, least }) => count < least);
}

export const describeMissing = ({ name, count, least }: Missing): string =>
  `${name}: ${count} of at least ${least}`;

/** The limits of a run's duration. */
export interface Bounds {
  /** The run continues for at least this long. */
  leastSeconds: number;
  /** The run ends after this time even if a requirement is not met; then it has failed. */
  limitSeconds: number;
}

/** Whether a run ends now. */
export function isOver(
  { leastSeconds, limitSeconds }: Bounds,
  { elapsedSeconds, missing }: { elapsedSeconds: number; missing: readonly Missing[] },
): boolean {
  if (elapsedSeconds >= limitSeconds) return true;
  return missing.length === 0 && elapsedSeconds >= leastSeconds;
}
