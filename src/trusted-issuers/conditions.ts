import { byCodeUnit } from '../platform/canonical-json.ts';

/**
 * Conditions on claims. A claim, named directly or by JSON Pointer (RFC 6901), must equal one of the values and have
 * its type.
 */
export type Conditions = Record<string, ConditionValue | ConditionValue[]>;
export type ConditionValue = string | number | boolean;

/** Claims that have their own rules and cannot be in conditions. */
const ruledClaims = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti'];

/** Describes what is wrong with conditions; undefined if they are valid. */
export function conditionsProblem(conditions: Conditions): string | undefined {
  for (const [name, wanted] of Object.entries(conditions)) {
    if (ruledClaims.includes(name.replace(/^\//, '')))
      return `${name} cannot be in claims: it has its own rule`;
    if (name.startsWith('/') && /~(?![01])/.test(name)) return `${name} is not a JSON Pointer`;
    const problem = valuesProblem(name, [wanted].flat());
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/**
 * Claims that CI platforms write as text although they are numbers or booleans (GitHub Actions, GitLab CI/CD: ID token claims).
 * A condition of another type would never be met.
 */
const textClaims: ReadonlySet<string> = new Set([
  ...[
    'actor_id',
    'enterprise_id',
    'repository_id',
    'repository_owner_id',
    'run_attempt',
    'run_id',
    'run_number',
  ],
  ...['job_id', 'namespace_id', 'pipeline_id', 'project_id', 'runner_id', 'user_id'],
  ...['deployment_protected', 'environment_protected', 'ref_protected'],
]);

function valuesProblem(name: string, values: readonly unknown[]): string | undefined {
  if (values.some((value) => !isExact(value))) return `${name} has a number that cannot be compared exactly`;
  if (values.some((value) => typeof value === 'string' && value.includes('*')))
    return `${name} has a *, which would be compared as a character: conditions have no patterns, so list the values`;
  const isText = values.some((value) => typeof value === 'string');
  if (!isText && textClaims.has(name.replace(/^\//, '')))
    return `${name} is sent as text by CI platforms: write "${String(values[0])}", or list both`;
  return undefined;
}

/**
 * Whether claims meet every condition. Only an equal value of the same type meets a condition. A part of a text, a member
 * of a list, a pattern or another spelling does not.
 */
export function meetsConditions(claims: Record<string, unknown>, conditions: Conditions): boolean {
  return Object.entries(conditions).every(([name, wanted]) => meets(readClaim(claims, name), wanted));
}

/** A claim that does not meet its condition. */
export interface Difference {
  /** The name of the claim, or a JSON Pointer to it. */
  claim: string;
  expected: ConditionValue | ConditionValue[];
  /** The value of the claim; null if it is absent. */
  actual: unknown;
}

/** Lists the conditions that the claims do not meet. */
export function findDifferences(claims: Record<string, unknown>, conditions: Conditions): Difference[] {
  return Object.entries(conditions)
    .map(([claim, expected]) => ({ claim, expected, actual: readClaim(claims, claim) ?? null }))
    .filter(({ expected, actual }) => !meets(actual, expected));
}

function meets(value: unknown, wanted: ConditionValue | ConditionValue[]): boolean {
  return isExact(value) && (Array.isArray(wanted) ? wanted : [wanted]).some((one) => one === value);
}

/** Reads a claim by its name, or by JSON Pointer (RFC 6901) if the name begins with a slash. */
export function readClaim(claims: Record<string, unknown>, name: string): unknown {
  return name.startsWith('/') ? readPointer(claims, name) : ownMember(claims, name);
}

/**
 * Converts equal conditions to the same form: lists are sorted and without duplicates, and a list of one value
 * becomes the value.
 */
export function toCanonicalConditions(conditions: Conditions): Conditions {
  return Object.fromEntries(
    Object.entries(conditions).map(([name, wanted]) => {
      const values = [...new Set([wanted].flat())].sort((a, b) =>
        byCodeUnit(JSON.stringify(a), JSON.stringify(b)),
      );
      const [only] = values;
      return [name, values.length === 1 && only !== undefined ? only : values];
    }),
  );
}

/** Whether a number can be compared exactly: JSON parsing rounds whole numbers beyond 2^53. */
function isExact(value: unknown): boolean {
  return !Number.isInteger(value) || Number.isSafeInteger(value);
}

function ownMember(value: unknown, name: string): unknown {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function readPointer(claims: Record<string, unknown>, pointer: string): unknown {
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce(ownMember, claims as unknown);
}
