import type { IncomingMessage } from 'node:http';
import { headerValues } from '../../http/header-values.ts';
import { pathOf } from '../../http/request-target.ts';

/** The parts of a request that a DPoP proof covers. Each request has one object, however often it is checked. */
export interface DpopRequest {
  /** The values of all its DPoP headers. */
  proofs: readonly string[];
  method: string;
  /** The path without query. */
  path: string;
}

const none: readonly string[] = [];

/** Reads the DPoP headers, the method and the path of a request. */
export function readDpopRequest(request: IncomingMessage): DpopRequest {
  const proofs = request.headers.dpop === undefined ? none : headerValues(request, 'dpop');
  return { proofs, method: request.method ?? '', path: pathOf(request) };
}
