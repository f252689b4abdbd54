import { type EligibleApprovers, maxApprovals, unionOfGroups, withApprovals } from './decision.ts';
import type { PolicyEngine } from './engine.ts';
import { type DecisionRequest, maxRisk, type Risk } from './facts.ts';

/** The most evaluations one denial may cost beyond its own. */
export const maxHintEvaluations = 16;

/** What is tried below the duration that was asked, longest first. */
const standardDurations = [3600, 900, 300, 60];
const maxParts = 4;

/** A part of what was asked that policy would permit (`approvals_required` 0) or have approved. */
export interface Hint {
  scopes: string[];
  duration_seconds: number;
  approvals_required: number;
}

export interface HintOptions {
  eligible: EligibleApprovers;
  /** The resource's catalogue: scope to risk. */
  risks: ReadonlyMap<string, Risk>;
}

interface Part {
  scopes: string[];
  durationSeconds: number;
}

type Allowed = (part: Part) => boolean;

/** Scopes one by one if they are few, else by risk, else in four runs; least risk first. */
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
 * Finds which scopes would do at the shortest duration, then the longest duration they would do for. Assumes
 * that less is easier to permit; where policy disagrees it finds less, never something that was not evaluated.
 */
function nearestPart(asked: Part, parts: string[][], allowed: Allowed): Part | undefined {
  const shorter = standardDurations.filter((seconds) => seconds < asked.durationSeconds);
  const durationSeconds = shorter.at(-1) ?? asked.durationSeconds;
  const whole = { scopes: asked.scopes, durationSeconds };
  let best = shorter.length > 0 && allowed(whole) ? whole : undefined;
  if (best === undefined && parts.length > 1) {
    const good = parts.filter((scopes) => allowed({ scopes, durationSeconds }));
    const least = good[0];
    if (least === undefined) return undefined;
    const together = { scopes: asked.scopes.filter((scope) => good.flat().includes(scope)), durationSeconds };
    const joined = good.length > 1 && together.scopes.length < asked.scopes.length && allowed(together);
    best = joined ? together : { scopes: least, durationSeconds };
  }
  if (best === undefined) return undefined;
  const { scopes } = best;
  const longer = [...(scopes.length < asked.scopes.length ? [asked.durationSeconds] : []), ...shorter];
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

/** Decides parts of a request until the budget is spent; from then on nothing is allowed. */
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

/** The fewest approvals with which `allowed`; undefined if the budget ran out before that was known. */
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
 * For a request that was denied: the nearest part of it that policy would permit at once, and the nearest it would
 * have approved if that is more. Names only subsets of what was asked. Deterministic; at most 16 evaluations;
 * empty if nothing was found within them.
 */
export function hints(
  engine: PolicyEngine,
  request: DecisionRequest,
  { eligible, risks }: HintOptions,
): Hint[] {
  const asked = {
    scopes: [...new Set(request.context.scopes)],
    durationSeconds: request.context.duration_seconds,
  };
  const parts = split(asked.scopes, risks);
  const trial = createTrial(engine, request, risks);
  const atOnce = nearestPart(asked, parts, (part) => trial.allowed(part, 0, []));
  const found = atOnce === undefined ? [] : [hint(atOnce, 0)];
  if (eligible.groups.length > 0) {
    const union = unionOfGroups(eligible);
    const approved = nearestPart(asked, parts, (part) => trial.allowed(part, maxApprovals, union));
    if (approved !== undefined && !found.some((first) => within(hint(approved, 0), first))) {
      const needed = fewestApprovals(trial, approved, union);
      if (needed !== undefined) found.unshift(hint(approved, needed));
    }
  }
  return found;
}
