import { checks } from './check.ts';
import { crossingsOf } from './checks/grant-states.ts';
import { type Facts, factsOf } from './facts.ts';
import { isOk, type Kind, kinds, type Operation, type Violation } from './history.ts';
import type { Fault } from './nemesis.ts';
import { type ChaosRun, witnessName } from './run.ts';

/** How often each kind of operation must have succeeded: a run in which nothing happened proves nothing. */
const seldom: ReadonlySet<Kind> = new Set<Kind>([
  'disable',
  'enable',
  'issue-secret',
  'withdraw',
  'rotate',
  'compromise',
]);

export function leastSuccesses(kind: Kind, seconds: number): number {
  return Math.max(1, Math.floor(seconds / (seldom.has(kind) ? 30 : 15)));
}

/** The kinds that succeeded too seldom, and how often they did. */
export function tooLittle({ history, seconds }: ChaosRun): string[] {
  return kinds.flatMap((kind) => {
    const count = history.operations.filter((one) => one.kind === kind && isOk(one)).length;
    const least = leastSuccesses(kind, seconds);
    return count >= least ? [] : [`${kind}: ${count} of at least ${least}`];
  });
}

export const hasFailed = (run: ChaosRun): boolean =>
  run.violations.length > 0 || run.deaths.length > 0 || tooLittle(run).length > 0;

const table = (rows: readonly (readonly (string | number)[])[]): string[] =>
  rows.map(
    ([name, ...cells]) =>
      `  ${String(name).padEnd(34)}${cells.map((cell) => String(cell).padStart(11)).join('')}`,
  );

/** Columns of the table of operations. Nobody listened: refused, as far as a history is concerned. */
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
 * How long from when mending began (its restart is a part of that) until the first success of something that began later;
 * nothing if the run ended before.
 */
function recoveryMs(operations: readonly Operation[], fault: Fault, replica: number | undefined): number[] {
  const successes = operations.filter(
    (one) =>
      isOk(one) &&
      // Who looks back begins when all is mended, and says nothing of how long that took.
      one.actor !== witnessName &&
      one.begunMs >= fault.mendedMs &&
      (replica === undefined || one.replica === replica),
  );
  if (successes.length === 0) return [];
  return [
    successes.reduce((first, { endedMs }) => Math.min(first, endedMs), Number.POSITIVE_INFINITY) -
      fault.mendedMs,
  ];
}

function faultRows(operations: readonly Operation[], faults: readonly Fault[]) {
  const rows = [...new Set(faults.map(({ kind }) => kind))].sort().map((kind) => {
    const struck = faults.filter((fault) => fault.kind === kind);
    const lasted = struck.map(({ begunMs, mendedMs }) => mendedMs - begunMs);
    const anywhere = struck.flatMap((fault) => recoveryMs(operations, fault, undefined));
    const there = struck.flatMap((fault) => recoveryMs(operations, fault, fault.replica));
    const restart = struck.map(({ mendedMs, backMs }) => backMs - mendedMs);
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
  const { operations, ending } = history;
  const facts = factsOf(history);
  const byCheck = Object.keys(checks).map((name) => [
    name,
    violations.filter(({ check }) => check === name).length,
  ]);
  return [
    `  grants ${facts.grants.size}, tokens answered ${facts.tokens.size}, with rows ${ending?.tokenRows.length}, with events ${ending?.tokenEvents.length}`,
    `  tokens asked about at every replica ${ending?.opinions.length}, compromised keys ${ending?.compromisedKids.size}`,
    `  one-time values ${facts.once.size}, sent more than once ${repeated(facts).length}, of these taken ${repeated(facts).filter((sent) => sent.some(isOk)).length}`,
    `  grants that expired while somebody ended them ${crossingsOf(facts)}`,
    `  drained replicas ended with ${drains(faults)}`,
    `  largest delay of an answer ${slowest(operations)}`,
    ...table([['violations', violations.length], ...byCheck]),
  ];
}

/** What was sent with each one-time value that was sent more than once. */
const repeated = ({ once }: Facts): Operation[][] => [...once.values()].filter(({ length }) => length > 1);

/** What a run says of itself. */
export function report(run: ChaosRun): string {
  const { history, violations, faults, deaths } = run;
  const lacking = tooLittle(run);
  return [
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
    ...deaths.map((death) => `  ended by itself: ${death}`),
    ...lacking.map((what) => `  too little happened: ${what}`),
    hasFailed(run) ? 'FAILED' : 'PASSED',
    '',
  ].join('\n');
}
