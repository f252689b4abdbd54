import { createBoundedCache } from '../platform/bounded-cache.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import { llm } from './llm.ts';
import { type Check, checkSchema, compileSchema, type JsonSchema } from './schema.ts';
import { sizeProblem } from './size.ts';

/** An authorization detail (RFC 9396 section 2). It has the members that its `type` allows, and no others. */
export interface Detail {
  type: string;
  [member: string]: unknown;
}

/**
 * How a member of a detail may be narrowed. `subset`: to an array that contains no element more often than the wider
 * array does, in any order. `maximum`: to the same or a lower number; if the wider detail lacks the member, any number
 * is permitted. All other members must stay equal.
 */
export type Narrowing = 'subset' | 'maximum';

/** A type of authorization details that a resource supports. */
export interface DetailsType {
  type: string;
  /** The schema of the details of this type. For a built-in type it applies in addition. */
  schema?: JsonSchema;
  /** The narrowing of each member by its name. Built-in types have their own. */
  narrowing?: Record<string, Narrowing>;
}

/** A type that is the same for every resource. */
interface BuiltIn {
  check: Check;
  narrowing: Record<string, Narrowing>;
}

const builtIns: ReadonlyMap<string, BuiltIn> = new Map([
  ['llm', { check: compileSchema(llm.schema), narrowing: llm.narrowing }],
]);

/** The types for which a resource needs no schema. */
export const builtInTypes: readonly string[] = [...builtIns.keys()];

/** Describes what is wrong with the types of a resource; undefined if they are valid. */
export function typesProblem(types: readonly DetailsType[]): string | undefined {
  const names = types.map(({ type }) => type);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) return `authorization details type ${twice} is given twice`;
  for (const { type, schema, narrowing } of types) {
    const isBuiltIn = builtIns.has(type);
    if (schema === undefined && !isBuiltIn) return `authorization details type ${type} needs a schema`;
    if (narrowing !== undefined && isBuiltIn)
      return `the narrowing of the built-in type ${type} cannot be changed: omit it`;
    const problem = schema === undefined ? undefined : checkSchema(schema);
    if (problem !== undefined) return `the schema of ${type}: ${problem}`;
  }
  return undefined;
}

/** Checks authorization details against types. */
export interface DetailsRules {
  /** Describes what is wrong with requested details for a resource with these types; undefined if they are valid. */
  problem(types: readonly DetailsType[], details: readonly Detail[]): string | undefined;
}

/** Creates rules that compile each schema once, because compiling takes far longer than checking. */
export function createDetailsRules(): DetailsRules {
  const compiled = createBoundedCache<Check>({ maxEntries: 500 });
  const compile = (schema: JsonSchema): Check => {
    const key = canonicalJson(schema);
    const check = compiled.get(key) ?? compileSchema(schema);
    compiled.set(key, check);
    return check;
  };
  return { problem: (types, details) => findProblem(types, details, compile) };
}

function findProblem(
  types: readonly DetailsType[],
  details: readonly Detail[],
  compile: (schema: JsonSchema) => Check,
): string | undefined {
  const tooLarge = sizeProblem(details);
  if (tooLarge !== undefined) return tooLarge;
  for (const [i, detail] of details.entries()) {
    const known = types.find(({ type }) => type === detail.type);
    if (known === undefined) return `the resource has no authorization details type ${detail.type}`;
    const ofResource = known.schema === undefined ? undefined : compile(known.schema);
    const problem = builtIns.get(known.type)?.check(detail) ?? ofResource?.(detail);
    if (problem !== undefined) return `authorization_details[${i}]${problem}`;
  }
  return undefined;
}

/**
 * Whether `narrow` grants nothing beyond `wide`: each of its details is within its own detail of `wide` of the same type.
 * Two details within the same one would count its limits twice.
 */
export function areWithin(
  types: readonly DetailsType[],
  narrow: readonly Detail[],
  wide: readonly Detail[],
): boolean {
  const taken = new Map<number, number>();
  /** Assigns detail n to a detail of `wide`, and reassigns others if necessary (Kuhn's algorithm). */
  const place = (n: number, tried: Set<number>): boolean =>
    wide.some((outer, i) => {
      const inner = narrow[n];
      if (tried.has(i) || inner === undefined || !isWithin(types, inner, outer)) return false;
      tried.add(i);
      const other = taken.get(i);
      if (other !== undefined && !place(other, tried)) return false;
      taken.set(i, n);
      return true;
    });
  return narrow.length <= wide.length && narrow.every((_, n) => place(n, new Set()));
}

function isWithin(types: readonly DetailsType[], inner: Detail, outer: Detail): boolean {
  if (inner.type !== outer.type) return false;
  const narrowing =
    builtIns.get(inner.type)?.narrowing ?? types.find(({ type }) => type === inner.type)?.narrowing ?? {};
  const names = new Set([...Object.keys(inner), ...Object.keys(outer)]);
  return [...names].every((name) => {
    const rule = Object.hasOwn(narrowing, name) ? narrowing[name] : undefined;
    return isNarrower[rule ?? 'equal'](own(inner, name), own(outer, name));
  });
}

function own(detail: Detail, name: string): unknown {
  return Object.hasOwn(detail, name) ? detail[name] : undefined;
}

const isSame = (inner: unknown, outer: unknown): boolean =>
  inner === undefined || outer === undefined
    ? inner === outer
    : canonicalJson(inner) === canonicalJson(outer);

const isNarrower: Record<Narrowing | 'equal', (inner: unknown, outer: unknown) => boolean> = {
  equal: isSame,
  subset(inner, outer) {
    if (!Array.isArray(inner) || !Array.isArray(outer)) return isSame(inner, outer);
    const available = countElements(outer);
    return [...countElements(inner)].every(([element, count]) => count <= (available.get(element) ?? 0));
  },
  maximum(inner, outer) {
    if (outer === undefined) return inner === undefined || typeof inner === 'number';
    if (typeof inner !== 'number' || typeof outer !== 'number') return isSame(inner, outer);
    return inner <= outer;
  },
};

/** Counts how often each element occurs, by its canonical JSON. */
function countElements(array: readonly unknown[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const element of array.map(canonicalJson)) counts.set(element, (counts.get(element) ?? 0) + 1);
  return counts;
}

/** Returns the types that are removed or changed, whose grants therefore end. */
export function endedTypes(before: readonly DetailsType[], after: readonly DetailsType[]): string[] {
  const texts = new Map(after.map((one) => [one.type, canonicalJson(one)]));
  return before.filter((one) => texts.get(one.type) !== canonicalJson(one)).map(({ type }) => type);
}
