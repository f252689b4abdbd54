import type { Origin } from '../caller.ts';
import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import { BrokerError, type ErrorCode } from '../errors.ts';
import type { RequestsService } from '../requests/service.ts';
import type { AccessRequest } from '../tokens/token-request.ts';

export interface OnDemandDeps {
  demand: RequestsService['demand'];
}

interface Uncovered {
  client: AuthenticatedClient;
  origin: Origin;
  request: AccessRequest;
  /** The refusal of the token request: no grant covers it. */
  refusal: BrokerError;
  /** The earliest expiry that a usable grant may have. */
  usableUntil: Date;
}

/** The codes of refusals that mean that no grant covers the request. */
const uncovered: readonly ErrorCode[] = ['invalid-target', 'invalid-scope', 'invalid-authorization-details'];
/** The errors of the grant request that the client sees. All others are answered as if no grant had been requested. */
const shown: readonly ErrorCode[] = ['invalid-scope', 'invalid-authorization-details', 'too-many-grants'];

const intervalSeconds = 5;

/** Whether the refused request has everything that a grant request needs. */
export function mayRequestGrant(request: AccessRequest, error: unknown): error is BrokerError {
  if (request.scopes === undefined || request.grantId !== undefined) return false;
  return error instanceof BrokerError && uncovered.includes(error.code);
}

/**
 * Requests the grant that a token request lacks, and returns if it is active. Throws `authorization-pending` with the grant's
 * id and the seconds to wait, `access-denied` if an approver denied it recently, and `refusal` if policy does not
 * permit it or an approver has narrowed it.
 */
export async function requestOnDemand(
  { demand }: OnDemandDeps,
  { client, origin, request, refusal, usableUntil }: Uncovered,
): Promise<void> {
  const caller = { kind: 'agent' as const, id: client.id, authMethod: client.method };
  const { resource, scopes = [], authorizationDetails = null } = request;
  const { grantId: grant_id, status } = await demand(
    { caller, origin },
    { resource, scopes, authorizationDetails, usableUntil },
  ).catch((error: unknown) => {
    throw toClientError(error, refusal);
  });
  if (status === 'narrowed') throw refusal;
  if (status === 'denied') throw new BrokerError('access-denied', { extensions: { grant_id } });
  if (status === 'pending') {
    const extensions = { grant_id, interval: intervalSeconds };
    throw new BrokerError('authorization-pending', { extensions });
  }
}

function toClientError(error: unknown, refusal: BrokerError): unknown {
  if (!(error instanceof BrokerError) || error.entry.status >= 500 || shown.includes(error.code))
    return error;
  const { code, detail = refusal.entry.title } = refusal;
  return new BrokerError(code, { detail, recorded: error.recorded, internal: error.code });
}
