import type { NewAuditEvent } from '../audit/audit-event.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import { type ClientRequest, identifyClient } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';

/** Codes without an audit event: unauthenticated requests are only counted, the others ask for a retry. */
const unrecorded: readonly string[] = ['invalid-client', 'use-dpop-nonce', 'authorization-pending'];

/** Whether the error refuses an authenticated client and has no audit event yet. */
export function needsRecord(error: unknown): error is BrokerError {
  if (!(error instanceof BrokerError) || error.recorded) return false;
  return error.entry.status < 500 && !unrecorded.includes(error.code);
}

/**
 * Appends the audit event of a refusal. Authenticates the client again in the database,
 * because it may have ended since it was cached. Throws `invalid-client` if it has.
 */
export async function recordRefusal(
  { db, audit, clientsApart, limits }: LimitedEndpoints,
  request: ClientRequest,
  event: Pick<NewAuditEvent, 'type' | 'details'>,
): Promise<void> {
  const client = await clientsApart.authenticate(request.credentials, { fresh: true });
  identifyClient(limits, request, client.id);
  const agentId = client.kind === 'agent' ? client.id : null;
  const actor = { kind: client.kind, id: client.id };
  await withTransaction(db, (tx) =>
    audit.append(tx, { ...event, outcome: 'denied', actor, origin: request.exchange, agentId }),
  );
}
