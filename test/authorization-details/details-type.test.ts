import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  areWithin,
  createDetailsRules,
  type Detail,
  type DetailsType,
  endedTypes,
  typesProblem,
} from '../../src/authorization-details/details-type.ts';

const { problem: detailsProblem } = createDetailsRules();
const llm: DetailsType = { type: 'llm' };
const file: DetailsType = {
  type: 'file',
  schema: {
    type: 'object',
    required: ['type', 'paths'],
    additionalProperties: false,
    properties: {
      type: { const: 'file' },
      paths: { type: 'array', items: { type: 'string' } },
      owner: { type: 'string' },
      limits: { type: 'object' },
      size: { type: 'integer', minimum: 0 },
    },
  },
  narrowing: { paths: 'subset', size: 'maximum' },
};
const use = (members: Record<string, unknown> = {}): Detail => ({
  type: 'llm',
  models: ['a', 'b'],
  actions: ['inference', 'embeddings'],
  ...members,
});

describe('the details of a request', () => {
  it.each<[string, Detail]>([
    ['a use of models', use()],
    ['a use of models with limits', use({ max_requests: 5, max_tokens_per_request: 100 })],
    ["a type of the resource's own", { type: 'file', paths: [], owner: 'x', limits: { a: [1] } }],
  ])('may be %s', (_, detail) => {
    expect(detailsProblem([llm, file], [detail])).toBeUndefined();
  });

  it.each<[string, Detail, string]>([
    [
      'of a type that the resource does not have',
      { type: 'payment' },
      'no authorization details type payment',
    ],
    ['without models', { type: 'llm', actions: ['inference'] }, 'models'],
    ['with no model', use({ models: [] }), '/models'],
    ['with an unknown action', use({ actions: ['inference', 'delete'] }), '/actions/1'],
    ['with a limit of zero', use({ max_requests: 0 }), '/max_requests'],
    ['with a limit that is a string', use({ max_requests: '5' }), '/max_requests'],
    ['with a fractional limit', use({ max_requests: 1.5 }), '/max_requests'],
    ['with an unknown member', use({ max_token: 5 }), 'additional properties'],
    ['without a required member', { type: 'file' }, 'paths'],
    ['with a member named __proto__', JSON.parse('{"type":"file","paths":[],"__proto__":{}}'), 'additional'],
  ])('is not accepted: %s', (_, detail, why) => {
    expect(detailsProblem([llm, file], [use(), detail])).toContain(why);
  });

  it('of a built-in type must also match the schema of the resource', () => {
    const models = { type: 'array', items: { enum: ['a'] } };
    const types = [{ type: 'llm', schema: { type: 'object', properties: { models } } }];
    expect(detailsProblem(types, [use({ models: ['a'] })])).toBeUndefined();
    expect(detailsProblem(types, [use({ models: ['b'] })])).toContain('/models/0');
  });
});

describe('narrower details', () => {
  const types = [llm, file];
  it.each<[string, Detail[], Detail[]]>([
    ['equal', [use()], [use()]],
    ['an empty list', [], [use()]],
    ['fewer models', [use({ models: ['b'] })], [use()]],
    ['the same models in another order', [use({ models: ['b', 'a'] })], [use()]],
    [
      'fewer of an element that occurs twice',
      [{ type: 'file', paths: ['a', 'b'] }],
      [{ type: 'file', paths: ['a', 'b', 'a'] }],
    ],
    ['an additional limit', [use({ max_requests: 1 })], [use()]],
    ['a lower limit', [use({ max_requests: 1 })], [use({ max_requests: 2 })]],
    [
      'equal strings for a member with the rule maximum',
      [{ type: 'file', paths: [], size: 'x' }],
      [{ type: 'file', paths: [], size: 'x' }],
    ],
    ['one of two details', [{ type: 'file', paths: ['x'] }], [use(), { type: 'file', paths: ['x', 'y'] }]],
    [
      'members in another order',
      [{ type: 'file', paths: [], limits: { b: 1, a: 2 } }],
      [{ type: 'file', paths: [], limits: { a: 2, b: 1 } }],
    ],
    [
      'details of which the first must be matched with the second wide one',
      [use({ models: ['a'] }), use({ models: ['b'] })],
      [use(), use({ models: ['a'] })],
    ],
  ])('are %s', (_, narrow, wide) => {
    expect(areWithin(types, narrow, wide)).toBe(true);
  });

  it.each<[string, Detail[], Detail[]]>([
    ['another model', [use({ models: ['a', 'c'] })], [use()]],
    [
      'an element that occurs more often',
      [{ type: 'file', paths: ['a', 'a', 'a'] }],
      [{ type: 'file', paths: ['a', 'b'] }],
    ],
    [
      'an element that occurs twice instead of once',
      [{ type: 'file', paths: ['a', 'a'] }],
      [{ type: 'file', paths: ['a', 'b', 'c'] }],
    ],
    ['another action', [use({ actions: ['fine_tune'] })], [use()]],
    ['a missing limit', [use()], [use({ max_requests: 2 })]],
    ['a higher limit', [use({ max_requests: 3 })], [use({ max_requests: 2 })]],
    [
      'two details that both need the only wide one',
      [use({ max_requests: 2 }), use({ max_requests: 2 })],
      [use({ max_requests: 2 })],
    ],
    ['another type', [{ type: 'file', paths: [] }], [use()]],
    ['an additional owner', [{ type: 'file', paths: [], owner: 'x' }], [{ type: 'file', paths: [] }]],
    ['a missing owner', [{ type: 'file', paths: [] }], [{ type: 'file', paths: [], owner: 'x' }]],
    ['a detail if the wide list is empty', [use()], []],
    [
      'two details that both need the same one of two',
      [use({ models: ['b'] }), use({ models: ['b'] })],
      [use(), use({ models: ['a'] })],
    ],
  ])('are not %s', (_, narrow, wide) => {
    expect(areWithin(types, narrow, wide)).toBe(false);
  });

  const arbitrary = fc.record(
    {
      type: fc.constant('llm'),
      models: fc.uniqueArray(fc.constantFrom('a', 'b', 'c'), { minLength: 1 }),
      actions: fc.uniqueArray(fc.constantFrom('inference', 'embeddings'), { minLength: 1 }),
      max_requests: fc.integer({ min: 1, max: 4 }),
    },
    { requiredKeys: ['type', 'models', 'actions'] },
  );
  it('are never wider than the others: every use that they allow is allowed by the wide ones', () => {
    const details = fc.array(arbitrary, { maxLength: 3 });
    /** Returns how many requests the details allow for a model and an action. */
    const requests = (allowed: readonly Detail[], model: string, action: string): number =>
      allowed
        .filter(
          ({ models, actions }) =>
            [models, actions].flat().includes(model) && [actions].flat().includes(action),
        )
        .reduce((sum, { max_requests = Number.POSITIVE_INFINITY }) => sum + Number(max_requests), 0);
    fc.assert(
      fc.property(details, details, (narrow, wide) => {
        fc.pre(areWithin([llm], narrow, wide));
        for (const model of ['a', 'b', 'c']) {
          for (const action of ['inference', 'embeddings']) {
            expect(requests(narrow, model, action)).toBeLessThanOrEqual(requests(wide, model, action));
          }
        }
      }),
    );
  });
});

describe('the types of a resource', () => {
  const ofSchema = (schema: Record<string, unknown>): DetailsType[] => [{ type: 'x', schema }];
  const object = { type: 'object' };
  it.each<[string, DetailsType[], string]>([
    ['the same type twice', [llm, llm], 'twice'],
    ['a custom type without a schema', [{ type: 'x' }], 'needs a schema'],
    ['a built-in type with another narrowing', [{ type: 'llm', narrowing: {} }], 'omit it'],
    ['a schema that is not for an object', ofSchema({ type: 'array' }), 'type must be object'],
    [
      'a pattern, which can take very long',
      ofSchema({ ...object, properties: { a: { pattern: '(a+)+$' } } }),
      'pattern',
    ],
    ['a reference', ofSchema({ ...object, properties: { a: { $ref: 'https://example.com/x' } } }), '$ref'],
    [
      'a keyword with the name of a property of every JavaScript object',
      ofSchema({ ...object, constructor: 'x' }),
      'constructor',
    ],
    ['an invalid length', ofSchema({ ...object, properties: { a: { maxLength: -1 } } }), 'maxLength'],
    ['a schema that is too long', ofSchema({ ...object, description: 'x'.repeat(16_384) }), 'longer'],
    [
      'a schema that is too deep',
      ofSchema(
        Array.from({ length: 9 }).reduce<Record<string, unknown>>(
          (inner) => ({ type: 'object', properties: { a: inner } }),
          object,
        ),
      ),
      'deeper',
    ],
  ])('may not be %s', (_, types, why) => {
    expect(typesProblem(types)).toContain(why);
  });

  it('may use the supported keywords', () => {
    expect(typesProblem([llm, file])).toBeUndefined();
  });

  it('end if they are removed or changed, but not if only an order changes', () => {
    const other = { ...file, narrowing: { size: 'maximum', paths: 'subset' } } as const;
    expect(endedTypes([llm, file], [other, llm])).toEqual([]);
    expect(endedTypes([llm, file], [{ ...file, narrowing: {} }])).toEqual(['llm', 'file']);
  });
});
