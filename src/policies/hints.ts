import { type DecisionRequest, maxRisk, type Risk } from '../grants/facts.ts';
import { type EligibleApprovers, maxApprovals, unionOfGroups, withApprovals } from './decision.ts';
import type { PolicyEngine } from './engine.ts';

/** The most additional evaluations for one denial. */
export const maxHintEvaluations = 16;

/** The durations that are tried if they are shorter than the requested one, longest first. */
const standardDurations = [3600, 900, 300, 60];
const maxParts = 4;

/** A part of a request that policy would permit at once (`approvals_required` is 0) or with approvals. */
export interface Hint {
  scopes: string[];
  duration_seconds: number;
  approvals_required: number;
}

export interface HintOptions {
  eligible: EligibleApprovers;
  /** The risk of each scope in the resource's catalogue. */
  risks: ReadonlyMap<string, Risk>;
}

interface Part {
  scopes: string[];
  durationSeconds: number;
}

type Allowed = (part: Part) => boolean;

/**
 * Splits scopes: one by one if there are at most four, otherwise by risk, or into four parts if all have the same
 * risk. Lowest risk first.
 */
function split(scopes: readonly string[], risks: ReadonlyMap<string, Risk>): string[][] {
  const classes = (['low', 'medium', 'high'] as const)
    .map((risk) => scopes.filter((scope) => maxRisk([scope], risks) === risk))
    .filter((scopesOfRisk) => scopesOfRisk.length > 0);
  if (scopes.length <= maxParts) return classes.flat().map((scope) => [scope]);
  if (classes.length > 1) return classes;
  const size = Math.ceil(scopes.length / maxParts);
  return Array.from({ length: Math.ceil(scopes.length / size) }, (_, i) =>
    scopes.slice(i * size, (i + 1) * size),
  );
}

/**
 * Finds the scopes that are allowed at the shortest duration, then the longest duration for which they are allowed.
 * Assumes that policy permits less more readily; where it does not, the result may be smaller, but was always
 * evaluated.
 */
function nearestPart(requested: Part, parts: string[][], allowed: Allowed): Part | undefined {
  const shorter = standardDurations.filter((seconds) => seconds < requested.durationSeconds);
  const durationSeconds = shorter.at(-1) ?? requested.durationSeconds;
  const whole = { scopes: requested.scopes, durationSeconds };
  let best = shorter.length > 0 && allowed(whole) ? whole : undefined;
  if (best === undefined && parts.length > 1) {
    const good = parts.filter((scopes) => allowed({ scopes, durationSeconds }));
    const least = good[0];
    if (least === undefined) return undefined;
    const together = {
      scopes: requested.scopes.filter((scope) => good.flat().includes(scope)),
      durationSeconds,
    };
    const joined = good.length > 1 && together.scopes.length < requested.scopes.length && allowed(together);
    best = joined ? together : { scopes: least, durationSeconds };
  }
  if (best === undefined) return undefined;
  const { scopes } = best;
  const longer = [
    ...(scopes.length < requested.scopes.length ? [requested.durationSeconds] : []),
    ...shorter,
  ];
  const found = longer.find(
    (seconds) => seconds > durationSeconds && allowed({ scopes, durationSeconds: seconds }),
  );
  return { scopes, durationSeconds: found ?? durationSeconds };
}

const hint = ({ scopes, durationSeconds }: Part, approvals: number): Hint => ({
  scopes: [...scopes],
  duration_seconds: durationSeconds,
  approvals_required: approvals,
});

const within = (small: Hint, large: Hint): boolean =>
  small.duration_seconds <= large.duration_seconds &&
  small.scopes.every((scope) => large.scopes.includes(scope));

/** Evaluates parts of a request within a budget. After the budget is spent, nothing is allowed. */
function createTrial(engine: PolicyEngine, request: DecisionRequest, risks: HintOptions['risks']) {
  let left = maxHintEvaluations;
  return {
    hasBudget: () => left > 0,
    allowed(part: Part, approvals: number, groups: readonly string[]): boolean {
      if (left === 0) return false;
      left -= 1;
      const context = {
        ...request.context,
        scopes: part.scopes,
        max_risk: maxRisk(part.scopes, risks),
        duration_seconds: part.durationSeconds,
      };
      return engine.decide(withApprovals({ ...request, context }, approvals, groups)).decision === 'permit';
    },
  };
}

/** Returns the smallest number of approvals with which the part is allowed; undefined if the budget is exhausted first. */
function fewestApprovals(
  trial: ReturnType<typeof createTrial>,
  part: Part,
  union: string[],
): number | undefined {
  for (let approvals = 1; approvals < maxApprovals; approvals += 1) {
    if (!trial.hasBudget()) return undefined;
    if (trial.allowed(part, approvals, union)) return approvals;
  }
  return maxApprovals;
}

/**
 * Returns hints for a denied request: the part nearest to it that policy would permit at once and, if that is larger,
 * the nearest part that it would permit with approvals. Every hint is a subset of the request. Deterministic, with at
 * most 16 evaluations; empty if they find nothing.
 */
export function hints(
  engine: PolicyEngine,
  request: DecisionRequest,
  { eligible, risks }: HintOptions,
): Hint[] {
  const requested = {
    scopes: [...new Set(request.context.scopes)],
    durationSeconds: request.context.duration_seconds,
  };
  const parts = split(requested.scopes, risks);
  const trial = createTrial(engine, request, risks);
  const atOnce = nearestPart(requested, parts, (part) => trial.allowed(part, 0, []));
  const found = atOnce === undefined ? [] : [hint(atOnce, 0)];
  if (eligible.groups.length > 0) {
    const union = unionOfGroups(eligible);
    const approved = nearestPart(requested, parts, (part) => trial.allowed(part, maxApprovals, union));
    if (approved !== undefined && !found.some((first) => within(hint(approved, 0), first))) {
      const needed = fewestApprovals(trial, approved, union);
      if (needed !== undefined) found.unshift(hint(approved, needed));
    }
  }
  return found;
}
