import type { Origin } from '../caller.ts';
import { BrokerError, type ErrorCode } from '../errors.ts';
import type { GrantsService } from '../grants/service.ts';
import type { AuthenticatedClient } from './clients/clients.ts';
import type { AccessRequest } from './token-source.ts';

export interface OnDemandDeps {
  demand: GrantsService['demand'];
}

interface Wanting {
  client: AuthenticatedClient;
  origin: Origin;
  request: AccessRequest;
  /** Why there is no token: no grant covers the request. */
  refusal: BrokerError;
  /** A grant that ends before this instant is of no use. */
  usableUntil: Date;
}

/** That no grant covers a request (and not that it is wrong). */
const uncovered: readonly ErrorCode[] = ['invalid-target', 'invalid-scope', 'invalid-authorization-details'];
/** What the request for a grant tells about itself; that policy denies it is told as if nobody had asked. */
const told: readonly ErrorCode[] = ['invalid-scope', 'invalid-authorization-details', 'too-many-grants'];

const intervalSeconds = 5;

/** Whether a grant may be asked for, if the agent has opted in: the request says what for, and none covers that. */
export function isDemand(request: AccessRequest, error: unknown): error is BrokerError {
  if (request.scopes === undefined || request.grantId !== undefined) return false;
  return error instanceof BrokerError && uncovered.includes(error.code);
}

/**
 * Asks for the grant that a token request lacks; done if it is active. Throws `authorization-pending` with the grant's id and
 * how many seconds to wait, `access-denied` if somebody denied it a short while ago, and `refusal` if policy does not permit it or an approver has narrowed it.
 */
export async function askForGrant(
  { demand }: OnDemandDeps,
  { client, origin, request, refusal, usableUntil }: Wanting,
): Promise<void> {
  const caller = { kind: 'agent' as const, id: client.id, authMethod: client.method };
  const { resource, scopes = [], authorizationDetails = null } = request;
  const { grantId: grant_id, status } = await demand(
    { caller, origin },
    { resource, scopes, authorizationDetails, usableUntil },
  ).catch((error: unknown) => {
    throw asRefusal(error, refusal);
  });
  if (status === 'narrowed') throw refusal;
  if (status === 'denied') throw new BrokerError('access-denied', { extensions: { grant_id } });
  if (status === 'pending') {
    const extensions = { grant_id, interval: intervalSeconds };
    throw new BrokerError('authorization-pending', { extensions });
  }
}

function asRefusal(error: unknown, refusal: BrokerError): unknown {
  if (!(error instanceof BrokerError) || error.entry.status >= 500 || told.includes(error.code)) return error;
  const { code, detail = refusal.entry.title } = refusal;
  return new BrokerError(code, { detail, recorded: error.recorded, internal: error.code });
}
