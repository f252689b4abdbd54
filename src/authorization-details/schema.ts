import { Ajv2020 } from 'ajv/dist/2020.js';
import { canonicalJson } from '../platform/canonical-json.ts';

/** A JSON Schema (2020-12) with only the keywords below. */
export type JsonSchema = { [keyword: string]: unknown };

const longestSchema = 16_384;
const deepest = 8;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
const isText = (value: unknown): boolean => typeof value === 'string';
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isScalar = (value: unknown): boolean => ['string', 'number', 'boolean'].includes(typeof value);
const types = ['object', 'array', 'string', 'number', 'integer', 'boolean'];

/**
 * The keywords that a schema may have, with a check of their values. Other keywords are refused because they could
 * take much time for a small request (`pattern`) or read other documents (`$ref`).
 */
const keywords: Record<string, (value: unknown) => boolean> = {
  title: isText,
  description: isText,
  type: (value) => types.includes(value as string),
  const: isScalar,
  enum: (value) => Array.isArray(value) && value.length > 0 && value.every(isScalar),
  required: (value) => Array.isArray(value) && value.every(isText) && new Set(value).size === value.length,
  minimum: isNumber,
  maximum: isNumber,
  minLength: isCount,
  maxLength: isCount,
  minItems: isCount,
  maxItems: isCount,
  uniqueItems: isFlag,
};

/** Describes what is wrong with a schema; undefined if it is valid. A schema must describe an object. */
export function checkSchema(schema: JsonSchema): string | undefined {
  if (canonicalJson(schema).length > longestSchema) return `is longer than ${longestSchema} characters`;
  if (schema.type !== 'object') return 'type must be object';
  const problem = findProblem(schema, 0);
  if (problem !== undefined) return problem;
  try {
    compileSchema(schema);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'is not a JSON Schema';
  }
}

function findProblem(schema: unknown, depth: number): string | undefined {
  if (!isObject(schema)) return 'a schema must be an object';
  if (depth > deepest) return `is deeper than ${deepest} levels`;
  for (const [keyword, value] of Object.entries(schema)) {
    const problem = keywordProblem(keyword, value, depth);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function keywordProblem(keyword: string, value: unknown, depth: number): string | undefined {
  if (keyword === 'items') return findProblem(value, depth + 1);
  if (keyword === 'additionalProperties' && isFlag(value)) return undefined;
  if (keyword === 'additionalProperties') return findProblem(value, depth + 1);
  if (keyword === 'properties') {
    if (!isObject(value)) return 'properties must be an object';
    return Object.values(value)
      .map((one) => findProblem(one, depth + 1))
      .find((problem) => problem !== undefined);
  }
  const isGood = Object.hasOwn(keywords, keyword) ? keywords[keyword] : undefined;
  if (isGood === undefined) return `the keyword ${keyword} is not supported`;
  return isGood(value) ? undefined : `${keyword} has an invalid value`;
}

/** Returns where and why a value does not match a schema, as a path and a reason; undefined if it matches. */
export type Check = (value: unknown) => string | undefined;

/** Compiles a schema with an Ajv instance of its own: a shared instance would keep every schema in memory. */
export function compileSchema(schema: JsonSchema): Check {
  const validate = new Ajv2020({ strict: false, ownProperties: true }).compile(schema);
  return (value) => {
    if (validate(value)) return undefined;
    const [first] = validate.errors ?? [];
    return `${first?.instancePath ?? ''} ${first?.message ?? 'does not match the schema'}`;
  };
}
