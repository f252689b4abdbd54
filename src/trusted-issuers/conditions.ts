/** What claims must be: of the same type, and equal to one of the values. By name, or by JSON Pointer (RFC 6901). */
export type Conditions = Record<string, ConditionValue | ConditionValue[]>;
type ConditionValue = string | number | boolean;

/** Claims that have rules of their own, and can be no condition. */
const ruledClaims = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti'];

/** Says what is wrong with conditions; undefined if nothing is. */
export function conditionsProblem(conditions: Conditions): string | undefined {
  for (const name of Object.keys(conditions)) {
    if (ruledClaims.includes(name.replace(/^\//, '')))
      return `${name} can be no condition in claims: it has a rule of its own`;
    if (name.startsWith('/') && /~(?![01])/.test(name)) return `${name} is no JSON Pointer`;
    const values = [conditions[name]].flat();
    if (values.some((value) => !isExact(value)))
      return `${name} has a number that cannot be compared exactly`;
  }
  return undefined;
}

/**
 * Whether claims meet every condition. Nothing but an equal value of the same type does: no part of a text, no member of a
 * list, no pattern, no other spelling.
 */
export function meetsConditions(claims: Record<string, unknown>, conditions: Conditions): boolean {
  return Object.entries(conditions).every(([name, wanted]) => {
    const value = name.startsWith('/') ? readPointer(claims, name) : ownMember(claims, name);
    return isExact(value) && (Array.isArray(wanted) ? wanted : [wanted]).some((one) => one === value);
  });
}

/** A whole number beyond 2^53 has lost to JSON what it was: its neighbours look like it. */
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
