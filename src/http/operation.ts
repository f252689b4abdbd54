import type { Origin, Person, WorkloadAgent } from '../caller.ts';
import type { AccessTable } from './access.ts';
import type { operations } from './api.gen.ts';
import type { RoutedOperationId } from './operation-id.ts';

type Content<R> = R extends { content: infer C } ? C[keyof C] : undefined;
type Responses<K extends RoutedOperationId> = operations[K]['responses'];
type SuccessStatus<K extends RoutedOperationId> = keyof Responses<K> & (200 | 201 | 202 | 204 | 304);
/**
 * The statuses that a handler returns itself. The readiness probe may return 503 as a result: it is not an error of
 * the request.
 */
type OwnStatus<K extends RoutedOperationId> =
  | SuccessStatus<K>
  | (K extends 'getReadiness' ? keyof Responses<K> : never);

/** The body that a handler gets: `{}` if an optional body is missing. */
type Body<K extends RoutedOperationId> = operations[K] extends {
  requestBody?: { content: { 'application/json': infer B } };
}
  ? B
  : undefined;
type Parameters<K extends RoutedOperationId, Where extends 'path' | 'query' | 'header'> =
  operations[K]['parameters'] extends Record<Where, infer P>
    ? P
    : operations[K]['parameters'] extends { [W in Where]?: infer P }
      ? Partial<Exclude<P, undefined>>
      : Record<never, never>;

type CallerOfAccess<A> = A extends 'anyone' ? undefined : A extends 'agent' ? WorkloadAgent : Person;
/** The callers that the access table allows for an operation. */
export type CallerOf<K extends RoutedOperationId> = CallerOfAccess<AccessTable[K][number]>;

/** The input of a handler, validated against the contract. */
export interface OperationRequest<K extends RoutedOperationId> {
  path: Parameters<K, 'path'>;
  query: Parameters<K, 'query'>;
  header: Parameters<K, 'header'>;
  body: Body<K>;
  caller: CallerOf<K>;
  origin: Origin;
  /** Aborted when the client disconnects. */
  signal: AbortSignal;
}

/** The result of a handler: one of the operation's declared successes. Refusals are thrown. */
export type OperationResponse<K extends RoutedOperationId> = {
  [S in OwnStatus<K>]: Content<Responses<K>[S]> extends undefined
    ? { status: S; headers?: Record<string, string> }
    : { status: S; body: Content<Responses<K>[S]>; headers?: Record<string, string> };
}[OwnStatus<K>];

export type Handler<K extends RoutedOperationId> = (
  request: OperationRequest<K>,
) => Promise<OperationResponse<K>>;

/** One handler for every operation that Express routes. A missing or unknown one does not compile. */
export type Handlers = { [K in RoutedOperationId]: Handler<K> };
