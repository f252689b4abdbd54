import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { leanOperations, type OperationId, type RoutedOperationId } from './operation-id.ts';

const methods = ['get', 'post', 'put', 'patch', 'delete'] as const;
export type Method = (typeof methods)[number];

/** An operation of the contract: its path, its possible statuses and its input. */
export interface OperationEntry {
  id: OperationId;
  method: Method;
  /** With `{parameters}`, as in the contract. */
  path: string;
  /** The declared statuses, without those that only the `default` response covers. */
  statuses: number[];
  /** Whether a request has a JSON body. `optional` if the body has no required members. */
  body: 'required' | 'optional' | 'none';
  /** The names of its header parameters, as in the contract. */
  headers: string[];
}

/** An operation that Express routes. */
export type RoutedEntry = OperationEntry & { id: RoutedOperationId };

export interface Contract {
  document: object;
  operations: OperationEntry[];
}

interface RawParameter {
  name: string;
  in: string;
}

interface RawOperation {
  operationId: OperationId;
  responses: Record<string, unknown>;
  requestBody?: { required?: boolean };
  parameters?: (RawParameter | { $ref: string })[];
}

interface RawDocument {
  paths: Record<string, Partial<Record<Method, RawOperation>>>;
  components: { parameters: Record<string, RawParameter> };
}

/** Reads the contract as JSON from src or, in a build, from dist. */
export function readContract(): Contract {
  const text = readFileSync(join(import.meta.dirname, '../openapi.json'), 'utf8');
  const document: RawDocument = JSON.parse(text);
  const operations: OperationEntry[] = [];
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of methods) {
      const operation = item[method];
      if (operation === undefined) continue;
      operations.push({
        id: operation.operationId,
        method,
        path,
        statuses: Object.keys(operation.responses)
          .filter((status) => status !== 'default')
          .map(Number),
        body: bodyOf(operation),
        headers: headersOf(operation, document),
      });
    }
  }
  return { document, operations };
}

/** Returns the names of the header parameters. Throws if a reference has no target. */
function headersOf({ parameters = [] }: RawOperation, { components }: RawDocument): string[] {
  return parameters.flatMap((parameter) => {
    const { name, in: place } = '$ref' in parameter ? referenced(parameter.$ref, components) : parameter;
    return place === 'header' ? [name] : [];
  });
}

function referenced($ref: string, { parameters }: RawDocument['components']): RawParameter {
  const parameter = parameters[$ref.replace('#/components/parameters/', '')];
  if (parameter === undefined) throw new Error(`the contract has no parameter ${$ref}`);
  return parameter;
}

function bodyOf({ requestBody }: RawOperation): OperationEntry['body'] {
  if (requestBody === undefined) return 'none';
  return requestBody.required === true ? 'required' : 'optional';
}

/** Converts a path of the contract to Express syntax: `/v1/admins/{admin_id}` to `/v1/admins/:admin_id`. */
export function toExpressPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

const lean: ReadonlySet<string> = new Set(leanOperations);

export function isRouted(entry: OperationEntry): entry is RoutedEntry {
  return !lean.has(entry.id);
}
