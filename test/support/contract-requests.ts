import type { Contract, OperationEntry } from '../../src/http/contract.ts';
import type { WireRequest } from './http.ts';

/** Makes requests from the contract alone: its own examples, with syntactically valid ids in the path. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  pattern?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
}

export interface Parameter {
  name: string;
  in: 'path' | 'query' | 'header';
  schema: Schema;
}

interface RawOperation {
  operationId: string;
  security?: Record<string, unknown>[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, { schema: Schema; example: Record<string, unknown> }> };
}

interface Document {
  paths: Record<string, Record<string, RawOperation> & { parameters?: Parameter[] }>;
}

export interface OperationDetails {
  entry: OperationEntry;
  /** The parameters of the operation and of its path, with references resolved. */
  parameters: Parameter[];
  /** The names of the security schemes; empty if the operation needs no authentication. */
  security: string[];
  body: { type: string; schema: Schema; example: Record<string, unknown> } | undefined;
}

/** Resolves a reference. Members beside it replace those at the reference. */
export function resolve<T extends object>(contract: Contract, value: T & { $ref?: string }): T {
  const { $ref, ...beside } = value;
  if ($ref === undefined) return value;
  const steps = $ref.slice(2).split('/');
  const found = steps.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], contract.document);
  return resolve(contract, { ...(found as T), ...beside } as T);
}

/** Returns the parts from which a request to this operation is made. */
export function detailsOf(contract: Contract, entry: OperationEntry): OperationDetails {
  const item = (contract.document as Document).paths[entry.path];
  const operation = item?.[entry.method];
  if (item === undefined || operation === undefined) throw new Error(`no ${entry.method} ${entry.path}`);
  const [content] = Object.entries(operation.requestBody?.content ?? {});
  const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) => {
    const resolved = resolve(contract, parameter);
    return { ...resolved, schema: resolve(contract, resolved.schema) };
  });
  return {
    entry,
    parameters,
    security: (operation.security ?? [{ apiKey: [] }]).flatMap((scheme) => Object.keys(scheme)),
    body: content && {
      type: content[0],
      schema: resolve(contract, content[1].schema),
      example: content[1].example,
    },
  };
}

/** Returns an id that matches the pattern and names no existing object. */
function idFor({ name, schema }: Parameter): string {
  const prefix = /^\^([a-z]{3})_/.exec(schema.pattern ?? '')?.[1];
  if (prefix === undefined) throw new Error(`${name} has no pattern of an id`);
  return `${prefix}_01kjdw0a5vf8h8v0m6gq3r9x2c`;
}

function encode(body: NonNullable<OperationDetails['body']>): string {
  return body.type === 'application/json'
    ? JSON.stringify(body.example)
    : new URLSearchParams(body.example as Record<string, string>).toString();
}

/** Returns the operation's example as a request without a credential. */
export function exampleRequest(details: OperationDetails): WireRequest & { headers: Record<string, string> } {
  const { entry, parameters, body } = details;
  const path = parameters
    .filter((parameter) => parameter.in === 'path')
    .reduce((text, parameter) => text.replace(`{${parameter.name}}`, idFor(parameter)), entry.path);
  const method = entry.method.toUpperCase();
  if (body === undefined) return { method, path, headers: {} };
  return { method, path, headers: { 'Content-Type': body.type }, body: encode(body) };
}

/** Lists the paths of all members and elements of a JSON value: `['scopes']`, `['scopes', 0]`, ... */
export function pathsIn(value: unknown, prefix: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [];
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return entries.flatMap(([key, item]) => [[...prefix, key], ...pathsIn(item, [...prefix, key])]);
}

export function valueAt(value: unknown, path: (string | number)[]): unknown {
  return path.reduce<unknown>((at, step) => (at as Record<string | number, unknown>)[step], value);
}

/** Returns a copy of `value` with `replacement` at `path`. */
export function replaced<T>(value: T, path: (string | number)[], replacement: unknown): T {
  const copy = structuredClone(value);
  const parent = valueAt(copy, path.slice(0, -1)) as Record<string | number, unknown>;
  parent[path.at(-1) ?? ''] = replacement;
  return copy;
}
