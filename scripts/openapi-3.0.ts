import { stringify } from 'yaml';

/** An object of the document, of any kind. */
type Node = { [key: string]: Json };
type Json = Node | Json[] | string | number | boolean | null;
type Schemas = Record<string, Node>;

const prefix = '#/components/schemas/';

const header =
  '# Generated from openapi.yaml (npm run generate:api), for generators that do not read OpenAPI 3.1. It describes the same API,\n# except that a value of several possible types may be any value.\n';

/**
 * Converts the contract to OpenAPI 3.0.3 as YAML. It converts the parts of 3.1 that the contract uses; the lint of the result finds
 * other parts. Throws if a reference has no target.
 */
export function toOpenapi30(contract: object): string {
  const { info, components, ...document } = contract as {
    info: Node & { license: Node };
    components: Node & { schemas: Schemas };
  };
  const { summary: _, license, ...rest } = info;
  const { identifier, ...named } = license;
  const schemas = { ...components.schemas, ...schemasOrNull(contract, components.schemas) };
  const { paths, components: converted } = convert(
    { paths: (contract as Node).paths ?? null, components: { ...components, schemas } },
    schemas,
  ) as { paths: Node; components: { schemas: Schemas } };
  const result = {
    ...document,
    openapi: '3.0.3',
    info: { ...rest, license: { ...named, url: `https://spdx.org/licenses/${String(identifier)}` } },
    paths,
    components: { ...converted, schemas: usedSchemas([paths, converted], converted.schemas) },
  };
  return header + stringify(result, { aliasDuplicateObjects: false, lineWidth: 0 });
}

/** Leaves out the schemas to which nothing refers any more, because each use was copied or refers to `...OrNull`. */
function usedSchemas(referring: object, schemas: Schemas): Schemas {
  const text = JSON.stringify(referring);
  return Object.fromEntries(Object.entries(schemas).filter(([name]) => text.includes(`"${prefix}${name}"`)));
}

/** Whether generators make a named type of a schema. Other schemas are copied to the places that add a description or null. */
const isNamedType = ({ type, enum: values }: Node): boolean => type === 'object' || values !== undefined;

/** Makes a schema `...OrNull` for each one that may be null somewhere: in 3.0 a reference cannot be nullable, but its target can. */
function schemasOrNull(contract: object, schemas: Schemas): Schemas {
  const uses = JSON.stringify(contract).matchAll(/"anyOf":\[\{"\$ref":"([^"]+)"\},\{"type":"null"\}\]/g);
  return Object.fromEntries(
    [...uses].map(([, $ref = '']) => [`${$ref.slice(prefix.length)}OrNull`, orNull(targetOf($ref, schemas))]),
  );
}

function orNull({ type = null, enum: values, ...rest }: Node): Node {
  const closed = Array.isArray(values) ? { enum: [...values, null] } : {};
  return { type, nullable: true, ...closed, ...rest };
}

function convert(value: Json, schemas: Schemas): Json {
  if (Array.isArray(value)) return value.map((item) => convert(item, schemas));
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([key, member]) => [key, convert(member, schemas)] as const);
  return convertSchema(Object.fromEntries(members), schemas);
}

/** Converts a schema. Returns an object that is not a schema unchanged: only schemas have these members in this form. */
function convertSchema(node: Node, schemas: Schemas): Node {
  const { type, anyOf, $ref, ...rest } = node;
  if (Array.isArray(type) && type[1] === 'null') return { type: type[0] ?? null, nullable: true, ...rest };
  const [named, alternative] = Array.isArray(anyOf) ? (anyOf as Node[]) : [];
  if (alternative?.type === 'null') {
    const target = targetOf(String(named?.$ref), schemas);
    if (!isNamedType(target)) return { ...(convert(orNull(target), schemas) as Node), ...rest };
    // Repeats the type and `nullable`, because generators do not look for them at the target of the reference.
    const beside = { type: target.type ?? null, nullable: true, ...rest };
    return refer(`${String(named?.$ref)}OrNull`, beside);
  }
  // Generators make no usable type of a choice between scalars. So any value is allowed, and the description says which.
  if (anyOf !== undefined) return rest;
  if (typeof $ref !== 'string' || !$ref.startsWith(prefix)) return node;
  const target = targetOf($ref, schemas);
  const isCopied = Array.isArray(target.type) || (Object.keys(rest).length > 0 && target.type !== undefined);
  return isCopied && !isNamedType(target)
    ? { ...(convert(target, schemas) as Node), ...rest }
    : refer($ref, rest);
}

/** Makes a reference, with `allOf` if it has other members: OpenAPI 3.0 ignores members beside `$ref`. */
function refer($ref: string, beside: Node): Node {
  return Object.keys(beside).length === 0 ? { $ref } : { allOf: [{ $ref }], ...beside };
}

function targetOf($ref: string, schemas: Schemas): Node {
  const target = schemas[$ref.slice(prefix.length)];
  if (target === undefined) throw new Error(`the contract has no schema ${$ref}`);
  return target;
}
