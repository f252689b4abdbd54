import { createBoundedCache } from '../platform/bounded-cache.ts';
import { canonicalJson } from '../platform/canonical-json.ts';
import { llm } from './llm.ts';
import { type Check, checkSchema, compileSchema, type JsonSchema } from './schema.ts';

/** One authorization detail (RFC 9396 section 2): what its `type` says it may have, and nothing else. */
export interface Detail {
  type: string;
  [member: string]: unknown;
}

/**
 * What makes a member of a detail narrower: `subset`, an array of fewer elements; `maximum`, a lower number, where none is
 * no limit. Any other member stays as it is.
 */
export type Narrowing = 'subset' | 'maximum';

/** A type of authorization detail that a resource takes. */
export interface DetailsType {
  type: string;
  /** What a detail of it is, beside what a built-in type says. */
  schema?: JsonSchema;
  /** By the names of members; of a built-in type it is known. */
  narrowing?: Record<string, Narrowing>;
}

/** What is known of a type wherever it is used. */
interface BuiltIn {
  check: Check;
  narrowing: Record<string, Narrowing>;
}

const builtIns: ReadonlyMap<string, BuiltIn> = new Map([
  ['llm', { check: compileSchema(llm.schema), narrowing: llm.narrowing }],
]);

/** Every token carries them, and whoever reads tokens takes only so much. */
const longestDetails = 4_096;

/** The types that need no schema of the resource's own. */
export const builtInTypes: readonly string[] = [...builtIns.keys()];

/** What is wrong with the types of a resource; undefined if nothing is. */
export function typesProblem(types: readonly DetailsType[]): string | undefined {
  const names = types.map(({ type }) => type);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) return `authorization details type ${twice} is there twice`;
  for (const { type, schema, narrowing } of types) {
    const isBuiltIn = builtIns.has(type);
    if (schema === undefined && !isBuiltIn) return `authorization details type ${type} needs a schema`;
    if (narrowing !== undefined && isBuiltIn) return `what narrows ${type} is known: leave narrowing out`;
    const problem = schema === undefined ? undefined : checkSchema(schema);
    if (problem !== undefined) return `the schema of ${type}: ${problem}`;
  }
  return undefined;
}

/** Whether details are what types say. */
export interface DetailsRules {
  /** What is wrong with the details that are asked for of a resource with these types; undefined if nothing is. */
  problem(types: readonly DetailsType[], details: readonly Detail[]): string | undefined;
}

/** Schemas are compiled once: that takes far longer than to check by them. */
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
  if (Buffer.byteLength(canonicalJson(details)) > longestDetails) {
    return `authorization_details are longer than ${longestDetails} bytes`;
  }
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
 * Whether `narrow` gives nothing that `wide` does not: each detail is within one of `wide` of the same type, no two within
 * the same one (else a limit would count twice).
 */
export function areWithin(
  types: readonly DetailsType[],
  narrow: readonly Detail[],
  wide: readonly Detail[],
): boolean {
  const taken = new Map<number, number>();
  /** Finds a place for detail n, moving others if need be (Kuhn's algorithm). */
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
    const has = new Set(outer.map(canonicalJson));
    return inner.every((element) => has.has(canonicalJson(element)));
  },
  maximum(inner, outer) {
    if (outer === undefined) return inner === undefined || typeof inner === 'number';
    if (typeof inner !== 'number' || typeof outer !== 'number') return isSame(inner, outer);
    return inner <= outer;
  },
};

/** The types that mean something else after a change, or are gone: what was decided about them is worth no more. */
export function endedTypes(before: readonly DetailsType[], after: readonly DetailsType[]): string[] {
  const texts = new Map(after.map((one) => [one.type, canonicalJson(one)]));
  return before.filter((one) => texts.get(one.type) !== canonicalJson(one)).map(({ type }) => type);
}
