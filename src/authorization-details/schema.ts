import { Ajv2020 } from 'ajv/dist/2020.js';
import { canonicalJson } from '../platform/canonical-json.ts';

/** A JSON Schema (2020-12) of the keywords below. */
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
 * The keywords that a schema may have, and what of. Of others a request could take more time than its size tells (`pattern`),
 * or they read elsewhere (`$ref`).
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

/** What is wrong with a schema; undefined if nothing is. It describes an object. */
export function checkSchema(schema: JsonSchema): string | undefined {
  if (canonicalJson(schema).length > longestSchema) return `is longer than ${longestSchema} characters`;
  if (schema.type !== 'object') return 'type must be object';
  const problem = findProblem(schema, 0);
  if (problem !== undefined) return problem;
  try {
    compileSchema(schema);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : 'is no JSON Schema';
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
  if (isGood === undefined) return `the keyword ${keyword} is not one that a schema may have here`;
  return isGood(value) ? undefined : `${keyword} has a value that it cannot have`;
}

/** Where and why a value is not what the schema says, as a path and a reason; undefined if it is. */
export type Check = (value: unknown) => string | undefined;

/** An Ajv of its own for each: one that is shared would remember every schema for ever. */
export function compileSchema(schema: JsonSchema): Check {
  const validate = new Ajv2020({ strict: false, ownProperties: true }).compile(schema);
  return (value) => {
    if (validate(value)) return undefined;
    const [first] = validate.errors ?? [];
    return `${first?.instancePath ?? ''} ${first?.message ?? 'is not what the schema says'}`;
  };
}
