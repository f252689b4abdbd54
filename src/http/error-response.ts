import type { ServerResponse } from 'node:http';
import { isOutage } from '../db/sqlstate.ts';
import { BrokerError } from '../errors.ts';
import { RateLimited } from './limits.ts';

const outageRetrySeconds = 1;

/** Maps the statuses that Express, its body parser and the contract validator throw to our error codes. */
const codeOfStatus = new Map<number, BrokerError['code']>([
  [400, 'invalid-request'],
  [404, 'not-found'],
  [405, 'method-not-allowed'],
  [413, 'content-too-large'],
  [415, 'unsupported-media-type'],
]);

interface ValidatorError {
  status: number;
  message: string;
  errors?: { path: string; message: string }[];
  headers?: { Allow?: string };
}

function hasStatus(error: unknown): error is ValidatorError {
  return typeof error === 'object' && error !== null && 'status' in error && typeof error.status === 'number';
}

/** Formats the findings of the contract validator as one line: `body/name must be string; query/x ...`. */
function describeFindings(error: ValidatorError): string | undefined {
  const findings = error.errors?.map(({ path, message }) => `${path.replace(/^\//, '')} ${message}`);
  return findings === undefined ? undefined : [...new Set(findings)].slice(0, 5).join('; ').slice(0, 1000);
}

/**
 * Converts any thrown value to a BrokerError. An unknown error becomes `internal`, which reveals nothing to the
 * caller.
 */
export function toBrokerError(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error;
  if (error instanceof RateLimited) {
    const { retryAfterSeconds } = error;
    return new BrokerError('rate-limited', { cause: error, detail: error.message, retryAfterSeconds });
  }
  if (isOutage(error))
    return new BrokerError('unavailable', { cause: error, retryAfterSeconds: outageRetrySeconds });
  const code = hasStatus(error) ? codeOfStatus.get(error.status) : undefined;
  if (code === undefined || !hasStatus(error)) return new BrokerError('internal', { cause: error });
  const detail = code === 'invalid-request' ? describeFindings(error) : undefined;
  return new BrokerError(code, detail === undefined ? { cause: error } : { cause: error, detail });
}

/** Returns the allowed methods of the path if the contract validator refused the method (RFC 9110 section 15.5.6). */
export function allowedMethods(error: unknown): string | undefined {
  const allow = hasStatus(error) && error.status === 405 ? error.headers?.Allow : undefined;
  // The contract does not list HEAD: every path with GET also allows it.
  return allow?.replace(/\bGET\b/, 'GET, HEAD');
}

/** Writes `error` as an RFC 9457 problem document. For a 401, the caller sets `WWW-Authenticate` before. */
export function sendProblem(response: ServerResponse, error: BrokerError, requestId: string): void {
  const { status, title } = error.entry;
  const problem = {
    type: `urn:hallpass:error:${error.code}`,
    title,
    status,
    code: error.code,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    ...error.extensions,
    request_id: requestId,
  };
  if (error.retryAfterSeconds !== undefined)
    response.setHeader('Retry-After', String(error.retryAfterSeconds));
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Content-Type', 'application/problem+json');
  const body = JSON.stringify(problem);
  // Set explicitly, so that a response to HEAD has it too.
  response.setHeader('Content-Length', Buffer.byteLength(body));
  response.statusCode = status;
  response.end(body);
}
