import { checks } from '../../chaos-checker/check.ts';
import { crossingsOf } from '../../chaos-checker/checks/grant-states.ts';
import { type Facts, factsOf } from '../../chaos-checker/facts.ts';
import { isOk, kinds, type Operation, type Violation } from '../../chaos-checker/history.ts';
import type { Fault } from './nemesis.ts';
import { type ChaosRun, witnessName } from './run.ts';

export const hasFailed = (run: ChaosRun): boolean =>
  run.violations.length > 0 || run.deaths.length > 0 || run.missing.length > 0;

const table = (rows: readonly (readonly (string | number)[])[]): string[] =>
  rows.map(
    ([name, ...cells]) =>
      `  ${String(name).padEnd(34)}${cells.map((cell) => String(cell).padStart(13)).join('')}`,
  );

/** The columns of the table of operations. A refused connection counts as a refusal. */
const columns: Record<string, (one: Operation) => boolean> = {
  ok: isOk,
  refused: ({ outcome, status }) => outcome === 'refused' && status !== undefined,
  unknown: ({ outcome }) => outcome === 'unknown',
  unreached: ({ outcome, status }) => outcome === 'refused' && status === undefined,
};

function operationRows(operations: readonly Operation[]) {
  const counts = (some: readonly Operation[]) =>
    Object.values(columns).map((belongs) => some.filter(belongs).length);
  const rows = kinds.map((kind) => [kind, ...counts(operations.filter((one) => one.kind === kind))]);
  return [['operation', ...Object.keys(columns)], ...rows, ['all', ...counts(operations)]];
}

const longest = (times: readonly number[]): string =>
  times.length === 0 ? '-' : `${Math.max(...times).toFixed(0)} ms`;

/**
 * Measures the time from the beginning of a repair (which includes the restart) to the first success of an operation
 * that began later; an empty array if the run ended before.
 */
function recoveryMs(operations: readonly Operation[], fault: Fault, replica: number | undefined): number[] {
  const successes = operations.filter(
    (one) =>
      isOk(one) &&
      // The final reads begin after all repairs, and do not show how long these took.
      one.actor !== witnessName &&
      one.begunMs >= fault.repairedMs &&
      (replica === undefined || one.replica === replica),
  );
  if (successes.length === 0) return [];
  return [
    successes.reduce((first, { endedMs }) => Math.min(first, endedMs), Number.POSITIVE_INFINITY) -
      fault.repairedMs,
  ];
}

function faultRows(operations: readonly Operation[], faults: readonly Fault[]) {
  const rows = [...new Set(faults.map(({ kind }) => kind))].sort().map((kind) => {
    const struck = faults.filter((fault) => fault.kind === kind);
    const lasted = struck.map(({ begunMs, repairedMs }) => repairedMs - begunMs);
    const anywhere = struck.flatMap((fault) => recoveryMs(operations, fault, undefined));
    const there = struck.flatMap((fault) => recoveryMs(operations, fault, fault.replica));
    const restart = struck.map(({ repairedMs, backMs }) => backMs - repairedMs);
    return [kind, struck.length, ...[lasted, restart, anywhere, there].map(longest)];
  });
  return [['fault, longest', 'times', 'broken', 'restart', 'any answers', 'it answers'], ...rows];
}

const round = (ms: number): string => ms.toFixed(1);

export function describeOperation(one: Operation): string {
  const {
    kind,
    actor,
    replica,
    begunMs,
    endedMs,
    outcome,
    status = 'no answer',
    code,
    asked,
    answered,
  } = one;
  const when = `${round(begunMs)}-${round(endedMs)}`;
  const what = JSON.stringify({ ...asked, ...(code === undefined ? {} : { code }), ...answered }).slice(
    0,
    600,
  );
  return `      ${when} ms ${actor}: ${kind} at replica ${replica}: ${outcome} (${status}) ${what}`;
}

const describeViolation = ({ check, agentId, what, operations }: Violation): string[] => [
  `    ${check}: ${what} (${agentId ?? 'no agent'})`,
  ...operations.slice(0, 4).map(describeOperation),
];

const mostShown = 4;

function slowest(operations: readonly Operation[]): string {
  const answered = operations.filter(({ status }) => status !== undefined);
  const ms = (one: Operation) => one.endedMs - one.begunMs;
  const first = answered.reduce<Operation | undefined>(
    (a, b) => (a === undefined || ms(b) > ms(a) ? b : a),
    undefined,
  );
  return first === undefined ? 'none' : `${ms(first).toFixed(0)} ms (${first.kind}, ${first.status})`;
}

function drains(faults: readonly Fault[]): string {
  const notes = faults.filter(({ kind }) => kind === 'drain').map(({ note }) => note);
  const counted = [...new Set(notes)].map(
    (note) => `${note} (${notes.filter((one) => one === note).length})`,
  );
  return counted.length === 0 ? 'none' : counted.sort().join(', ');
}

function summary(run: ChaosRun): string[] {
  const { history, violations, faults } = run;
  const { operations, finalState } = history;
  const facts = factsOf(history);
  const byCheck = Object.keys(checks).map((name) => [
    name,
    violations.filter(({ check }) => check === name).length,
  ]);
  return [
    `  grants ${facts.grants.size}, tokens issued ${facts.tokens.size}, with rows ${finalState?.tokenRows.length}, with events ${finalState?.tokenEvents.length}`,
    `  tokens introspected on every replica ${finalState?.opinions.length}, compromised keys ${finalState?.compromisedKids.size}`,
    `  one-time values ${facts.once.size}, sent more than once ${repeated(facts).length}, of these accepted ${repeated(facts).filter((sent) => sent.some(isOk)).length}`,
    `  grants that expired while an operation ended them ${crossingsOf(facts)}`,
    `  drained replicas ended with ${drains(faults)}`,
    `  longest delay of a response ${slowest(operations)}`,
    ...table([['violations', violations.length], ...byCheck]),
  ];
}

/** Returns the operations of each one-time value that was sent more than once. */
const repeated = ({ once }: Facts): Operation[][] => [...once.values()].filter(({ length }) => length > 1);

/** Describes a run: its operations, its faults, and the violations. */
export function report(run: ChaosRun): string {
  const { history, violations, faults, deaths, missing, seconds } = run;
  return [
    `  acted for ${seconds.toFixed(1)} s`,
    '',
    ...table(operationRows(history.operations)),
    '',
    ...table(faultRows(history.operations, faults)),
    '',
    ...summary(run),
    ...Object.keys(checks).flatMap((name) =>
      violations
        .filter(({ check }) => check === name)
        .slice(0, mostShown)
        .flatMap(describeViolation),
    ),
    ...deaths.map((death) => `  ended unexpectedly: ${death}`),
    ...missing.map((what) => `  did not happen often enough in ${seconds.toFixed(0)} s: ${what}`),
    hasFailed(run) ? 'FAILED' : 'PASSED',
    '',
  ].join('\n');
}
