import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { leanOperations, type OperationId, type RoutedOperationId } from './operation-id.ts';

const methods = ['get', 'post', 'put', 'patch', 'delete'] as const;
export type Method = (typeof methods)[number];

/** An operation of the contract: where it is and what it may answer. */
export interface OperationEntry {
  id: OperationId;
  method: Method;
  /** With `{parameters}`, as in the contract. */
  path: string;
  statuses: number[];
  hasBody: boolean;
  /** The names of its header parameters, as in the contract. */
  headers: string[];
}

/** An operation that Express routes. */
export type RoutedEntry = OperationEntry & { id: RoutedOperationId };

export interface Contract {
  document: object;
  operations: OperationEntry[];
}

interface RawOperation {
  operationId: OperationId;
  responses: Record<string, unknown>;
  requestBody?: unknown;
  parameters?: { name?: string; in?: string }[];
}

/** Reads openapi.yaml, from src/http as from dist/http. */
export function readContract(): Contract {
  const text = readFileSync(join(import.meta.dirname, '../../openapi.yaml'), 'utf8');
  const document: { paths: Record<string, Partial<Record<Method, RawOperation>>> } = parse(text, {
    merge: true,
  });
  const operations: OperationEntry[] = [];
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of methods) {
      const operation = item[method];
      if (operation === undefined) continue;
      operations.push({
        id: operation.operationId,
        method,
        path,
        statuses: Object.keys(operation.responses).map(Number),
        hasBody: operation.requestBody !== undefined,
        headers: (operation.parameters ?? []).flatMap((parameter) =>
          parameter.in === 'header' && parameter.name !== undefined ? [parameter.name] : [],
        ),
      });
    }
  }
  return { document, operations };
}

/** `/v1/admins/{admin_id}` as Express writes it: `/v1/admins/:admin_id`. */
export function toExpressPath(path: string): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1');
}

const lean: ReadonlySet<string> = new Set(leanOperations);

export function isRouted(entry: OperationEntry): entry is RoutedEntry {
  return !lean.has(entry.id);
}
