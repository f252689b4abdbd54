import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { toOpenapi30 } from '../../scripts/openapi-3.0.ts';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const contract = (): { info: { title: string } } => parse(read('openapi.yaml'));

const pathsOf = ({ paths }: { paths: Record<string, object> }): string[] =>
  Object.entries(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method} ${path}`));

/** Converts a contract that has these schemas only, all of them in use. */
function convert(schemas: Record<string, object>): Record<string, object> {
  const uses = Object.keys(schemas).map((name) => [name, { $ref: `#/components/schemas/${name}` }]);
  const info = { title: 'T', version: '1', license: { name: 'L', identifier: 'L' } };
  const components = {
    schemas: { ...schemas, All: { type: 'object', properties: Object.fromEntries(uses) } },
  };
  const paths = { '/': { get: { schema: { $ref: '#/components/schemas/All' } } } };
  return parse(toOpenapi30({ openapi: '3.1.0', info, paths, components })).components.schemas;
}

describe('openapi-3.0.yaml', () => {
  it('is generated from openapi.yaml, and changes with it', () => {
    const twin = read('openapi-3.0.yaml');
    expect(toOpenapi30(contract()) === twin, 'run npm run generate:api').toBe(true);
    const changed = contract();
    changed.info.title = 'Changed';
    expect(toOpenapi30(changed)).toContain('title: Changed');
  });

  it('has the same operations and components', () => {
    const [one, other] = [parse(read('openapi.yaml')), parse(read('openapi-3.0.yaml'))];
    expect(other.openapi).toBe('3.0.3');
    expect(pathsOf(other)).toEqual(pathsOf(one));
    const names = Object.keys(other.components.schemas).map((name) => name.replace(/OrNull$/, ''));
    const left = Object.keys(one.components.schemas).filter((name) => !names.includes(name));
    // A choice of types allows any value. Scalars that may be null are copied to the places where they are used.
    expect(left.sort()).toEqual(['ConditionValue', 'NextCursor', 'NullableTime']);
    expect(names.filter((name) => !(name in one.components.schemas))).toEqual([]);
  });

  it('has `nullable` in the schema to which a reference refers', () => {
    const orNull = (name: string) => ({
      anyOf: [{ $ref: `#/components/schemas/${name}` }, { type: 'null' }],
    });
    const converted = convert({
      Id: { type: 'string' },
      Kind: { type: 'string', enum: ['a'] },
      Thing: {
        type: 'object',
        properties: {
          note: { type: ['string', 'null'] },
          kind: orNull('Kind'),
          id: { description: 'D', ...orNull('Id') },
        },
      },
    });
    expect(converted.Thing).toEqual({
      type: 'object',
      properties: {
        note: { type: 'string', nullable: true },
        kind: { allOf: [{ $ref: '#/components/schemas/KindOrNull' }], type: 'string', nullable: true },
        id: { type: 'string', nullable: true, description: 'D' },
      },
    });
    expect(converted.KindOrNull).toEqual({ type: 'string', nullable: true, enum: ['a', null] });
  });

  it('puts members beside a reference into `allOf`, where they are not ignored', () => {
    const beside = (name: string) => ({ $ref: `#/components/schemas/${name}`, description: 'D' });
    const converted = convert({
      Time: { type: 'string', format: 'date-time', description: 'T' },
      Kind: { type: 'string', enum: ['a'] },
      Thing: { type: 'object', properties: { at: beside('Time'), kind: beside('Kind') } },
    });
    expect(converted.Thing).toMatchObject({
      properties: {
        at: { type: 'string', format: 'date-time', description: 'D' },
        kind: { allOf: [{ $ref: '#/components/schemas/Kind' }], description: 'D' },
      },
    });
  });
});
