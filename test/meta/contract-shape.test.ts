import { describe, expect, it } from 'vitest';
import { type OperationEntry, readContract } from '../../src/http/contract.ts';
import { detailsOf } from '../support/contract-requests.ts';

/**
 * Checks of the contract that no linter makes: problems for generators of clients and for the users of generated
 * clients.
 */

interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  anyOf?: Schema[];
  oneOf?: Schema[];
  items?: Schema;
}
type Schemas = Record<string, Schema>;

const contract = readContract();
const { components } = contract.document as { components: Record<string, Schemas> };
const schemas = components.schemas ?? {};
const prefix = '#/components/schemas/';

function visit(value: unknown, path: string, look: (schema: Schema, path: string) => void): void {
  if (typeof value !== 'object' || value === null) return;
  look(value, path);
  for (const [key, member] of Object.entries(value)) visit(member, `${path}/${key}`, look);
}

/** Lists the properties that have no description and refer to no schema with a description. */
function undescribed(all: Schemas): string[] {
  const found: string[] = [];
  visit(all, '', ({ properties }, path) => {
    for (const [name, property] of Object.entries(properties ?? {})) {
      const target = property.$ref === undefined ? undefined : all[property.$ref.slice(prefix.length)];
      if (!property.description && !target?.description) found.push(`${path}/${name}`);
    }
  });
  return found;
}

/**
 * Lists places that may be null in an unusual form: a scalar must say so by its `type`, a reference by `anyOf` with
 * null second.
 */
function oddNulls(all: Schemas): string[] {
  const found: string[] = [];
  visit(all, '', ({ type, anyOf, oneOf }, path) => {
    if (Array.isArray(type) && type.includes('null')) {
      const [first, second, ...more] = type;
      const isScalar = ['string', 'integer', 'number', 'boolean'].includes(first ?? '');
      if (!isScalar || second !== 'null' || more.length > 0) found.push(`${path}: ${type.join()}`);
    }
    const choices = anyOf ?? oneOf ?? [];
    if (!choices.some((choice) => choice.type === 'null')) return;
    const [named, none, ...more] = choices;
    const isNamed = named?.$ref !== undefined && none?.type === 'null' && more.length === 0;
    if (!isNamed || oneOf !== undefined) found.push(`${path}: a choice with null`);
  });
  return found;
}

/** Lists the names that two components share, regardless of their kind and case. */
function repeatedNames(all: Record<string, object>): string[] {
  const names = Object.values(all).flatMap((section) =>
    Object.keys(section).map((name) => name.toLowerCase()),
  );
  return names.filter((name, index) => names.indexOf(name) !== index);
}

describe('the contract, for generators of clients,', () => {
  it('describes every property', () => {
    expect(undescribed(schemas)).toEqual([]);
    expect(
      undescribed({ A: { properties: { b: {}, c: { $ref: `${prefix}D` }, e: { description: 'E' } } } }),
    ).toEqual(['/A/b', '/A/c']);
  });

  it('has one form for what may be null', () => {
    expect(oddNulls(schemas)).toEqual([]);
    const none = { type: 'null' };
    const named = { $ref: `${prefix}N` };
    expect(
      oddNulls({
        A: { type: ['object', 'null'] },
        B: { type: ['null', 'string'] },
        C: { anyOf: [{ type: 'string' }, none] },
        D: { oneOf: [named, none] },
        E: { anyOf: [named, none] },
        F: { type: ['string', 'null'] },
      }),
    ).toEqual(['/A: object,null', '/B: null,string', '/C: a choice with null', '/D: a choice with null']);
  });

  it('has no two components with the same name', () => {
    expect(repeatedNames(components)).toEqual([]);
    expect(repeatedNames({ schemas: { AgentId: {} }, parameters: { agentId: {} } })).toEqual(['agentid']);
  });

  it('declares an error for every status that an operation does not list', () => {
    for (const entry of contract.operations) {
      const expected = entry.path.startsWith('/oauth2/') ? 'OtherOauthError' : 'OtherProblem';
      expect(defaultOf(entry), entry.id).toEqual({ $ref: `#/components/responses/${expected}` });
    }
  });

  it('declares the DPoP header exactly where it is read', () => {
    for (const entry of contract.operations) {
      const { parameters, security } = detailsOf(contract, entry);
      const reads = entry.id === 'issueToken' || security.includes('boundToken');
      const declared = parameters.some((parameter) => parameter.name === 'DPoP' && parameter.in === 'header');
      expect(declared, entry.id).toBe(reads);
    }
  });
});

function defaultOf({ path, method }: OperationEntry): unknown {
  const { paths } = contract.document as {
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
  };
  return paths[path]?.[method]?.responses.default;
}
