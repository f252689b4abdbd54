import type { NewAuditEvent } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import type { Origin } from '../caller.ts';
import type { Db } from '../db/database.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import type { Admission } from '../platform/admission.ts';
import type { AuthenticatedClient, Clients } from './clients/clients.ts';
import type { Dpop } from './dpop/dpop.ts';
import {
  type ExchangeCall,
  type ExchangeDeps,
  type Exchanged,
  exchangeToken,
  isProofMissing,
} from './exchange/exchange.ts';
import type { ExchangeRequest } from './exchange/exchange-request.ts';
import { type MintDeps, mint, type TokenResponse } from './mint.ts';
import type { OauthCall } from './oauth-call.ts';
import { askForGrant, isDemand, type OnDemandDeps } from './on-demand.ts';
import type { TokenRequest } from './token-request.ts';
import { usableUntil } from './token-source.ts';

export interface IssueDeps {
  db: Db;
  audit: Audit;
  dpop: Dpop;
  clients: Clients;
  /** Takes no connection that minting waits for. */
  clientsApart: Clients;
  mint: MintDeps;
  exchange: ExchangeDeps;
  /** How many exchanges are under way. */
  exchanging: Admission;
  onDemand: OnDemandDeps;
}

/** Reads what is asked for, once it is known who asks. */
export type ReadTokenRequest = (clientId: string) => TokenRequest | ExchangeRequest;

/** Once from memory, once from the database, once more if it was overtaken even so. */
export const attempts = [{ fresh: false }, { fresh: true }, { fresh: true }];

/** Issues a token to an agent that proves itself; a refusal is on the record. */
export async function issue(
  context: IssueDeps,
  call: OauthCall,
  read: ReadTokenRequest,
): Promise<TokenResponse> {
  let leave = (): void => {};
  try {
    for (const attempt of attempts) {
      const client = await context.clients.authenticate(call.credentials, attempt);
      if (client.kind !== 'agent') throw new BrokerError('unauthorized-client');
      const request = read(client.id);
      if (request.kind === 'exchange' && !attempt.fresh) {
        leave = context.exchanging.enter(client.id);
        // A grant may be made, and nobody makes one on the word of memory.
        continue;
      }
      const jkt = call.dpop.proofs.length === 0 ? undefined : await bind(context, call, client.id);
      const asker = { client, origin: call.origin, jkt };
      const asked =
        request.kind === 'exchange' ? await exchange(context, call, { ...asker, request }) : { request };
      const token = await mint(context.mint, { ...asker, ...asked }, attempt).catch((error: unknown) =>
        demandFor(context, call, { ...asker, request, error, fresh: attempt.fresh }),
      );
      if (token === undefined) continue;
      call.identified(client.id);
      return token;
    }
  } catch (error) {
    if (isRefusal(error)) {
      const { code, detail = null } = error;
      await recordRefusal(context, call, { type: 'token.refused', details: { code, detail } });
    }
    throw error;
  } finally {
    leave();
  }
  throw new BrokerError('unavailable', { retryAfterSeconds: 1, internal: 'a token kept being overtaken' });
}

/** Who was overtaken looks at the token again, and finds the grant that it was handed. */
function exchange(context: IssueDeps, call: OauthCall, asked: ExchangeCall): Promise<Exchanged> {
  call.identified(asked.client.id);
  return exchangeToken(context.exchange, asked);
}

interface Wanting {
  client: AuthenticatedClient;
  origin: Origin;
  request: TokenRequest | ExchangeRequest;
  jkt: string | undefined;
  error: unknown;
  fresh: boolean;
}

/** Asks for the grant that is lacking, where the agent wants that: undefined if it is to be tried again. Else throws the error. */
async function demandFor(
  { onDemand, exchange, mint: { clock } }: IssueDeps,
  call: OauthCall,
  { error, fresh, ...wanting }: Wanting,
): Promise<undefined> {
  const { client, request, origin, jkt } = wanting;
  if (request.kind !== 'access' || !isDemand(request, error)) throw error;
  // No grant is made on the word of memory about who asks, nor refused: the agent may have opted in since.
  if (!fresh) return;
  if (!client.grantsOnDemand) throw error;
  call.identified(client.id);
  // Nobody is asked for a grant whose tokens would be refused; nor told by that which resources there are.
  if (await isProofMissing(exchange, { client, jkt, aud: request.resource })) throw error;
  const until = usableUntil(clock.now());
  await askForGrant(onDemand, { client, origin, request, refusal: error, usableUntil: until });
}

/** The key that the token is to be bound to. To be asked for a nonce is no refusal of somebody unknown. */
async function bind({ dpop }: IssueDeps, call: OauthCall, clientId: string): Promise<string | undefined> {
  try {
    return await dpop.prove(call.dpop);
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'use-dpop-nonce') call.identified(clientId);
    throw error;
  }
}

/** A stranger is counted elsewhere, and to be asked for another proof, or for patience, is no refusal. */
const unrecorded: readonly string[] = ['invalid-client', 'use-dpop-nonce', 'authorization-pending'];

/** Whether somebody who has authenticated is told no, and it is not on the record yet. */
function isRefusal(error: unknown): error is BrokerError {
  if (!(error instanceof BrokerError) || error.recorded) return false;
  return error.entry.status < 500 && !unrecorded.includes(error.code);
}

/**
 * Records as one event that a client is refused. Memory may have vouched for one that has ended since: who cannot prove
 * itself now is told nothing but that (`invalid-client`).
 */
export async function recordRefusal(
  { db, audit, clientsApart }: Pick<IssueDeps, 'db' | 'audit' | 'clientsApart'>,
  { credentials, origin, identified }: OauthCall,
  event: Pick<NewAuditEvent, 'type' | 'details'>,
): Promise<void> {
  const client = await clientsApart.authenticate(credentials, { fresh: true });
  identified(client.id);
  const agentId = client.kind === 'agent' ? client.id : null;
  const actor = { kind: client.kind, id: client.id };
  await withTransaction(db, (tx) =>
    audit.append(tx, { ...event, outcome: 'denied', actor, origin, agentId }),
  );
}
