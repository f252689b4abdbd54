import type { NewAuditEvent } from '../audit/audit-event.ts';
import { type Audit, asUnrecorded } from '../audit/store.ts';
import type { Origin, WorkloadAgent } from '../caller.ts';
import { Batcher } from '../db/batcher.ts';
import type { Db } from '../db/database.ts';
import type { HotStatements } from '../db/hot-statements.ts';
import { isOutage } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Turns } from '../platform/turns.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { OneTimeValues } from '../replay/one-time-values.ts';
import { createAssertionProofs, createSpentAssertions } from './assertion-proof.ts';
import { authenticateHolder, type BrokerCredential } from './broker-token.ts';
import type { ClientCredentials } from './client-credentials.ts';
import type { ClientFinders } from './client-records.ts';
import { type Clients, createClients } from './clients.ts';
import type { Dpop, DpopRequest } from './dpop.ts';
import { type MintDeps, mint, type TokenResponse } from './mint.ts';
import * as store from './store.ts';
import type { TokenRequest } from './token-request.ts';
import { createTokenSources, createUseDecisions, usableUntil } from './token-source.ts';
import { createVerifiedTokens, nameOf, type VerifiedTokens } from './verified-tokens.ts';

/** How clients are found, and where it is kept what they have used up. */
export interface ClientAccess {
  findClient: ClientFinders;
  oneTimeValues: OneTimeValues;
}

export interface OauthDeps {
  db: Db;
  /** A pool of its own: minting under load takes no connection from revocation. */
  hot: HotStatements & { db: Db };
  audit: Audit;
  clock: Clock;
  turns: Pick<Turns, 'afterTurn'>;
  ids: Ids;
  issuer: string;
  ring: KeyRing;
  policies: Pick<PoliciesService, 'engine' | 'refresh'>;
  /** How clients are known: for who mints and asks. */
  clients: ClientAccess;
  /** The same through `db`, for revocation. */
  clientsApart: ClientAccess;
  dpop: Dpop;
  /** The keys that clients publish. */
  keySets: KeySets;
  /** Runs a write that may lack a partition, making it if so. */
  withPartitions: <T>(work: () => Promise<T>) => Promise<T>;
}

/** A request of somebody who has yet to prove who they are. */
export interface OauthCall {
  credentials: ClientCredentials;
  dpop: DpopRequest;
  origin: Origin;
  /** Told who it is once that is proved, whatever becomes of the request. */
  identified: (clientId: string) => void;
}

export interface Introspection {
  active: boolean;
  [claim: string]: unknown;
}

export type OauthService = ReturnType<typeof createOauthService>;

interface Context extends Omit<OauthDeps, 'clients' | 'clientsApart'> {
  clients: Clients;
  /** Takes no connection that minting waits for. */
  clientsApart: Clients;
  mint: MintDeps;
  tokens: VerifiedTokens;
  readActivity: (query: store.ActivityQuery) => Promise<store.Activity>;
}

/** Tokens: issued, asked about, revoked. */
export function createOauthService(deps: OauthDeps) {
  const { clock, hot, turns } = deps;
  const write = async (rows: store.MintRow[]) => {
    const now = clock.now();
    try {
      return await deps.withPartitions(() =>
        store.mintTokens(hot, rows, { now, usableUntil: usableUntil(now) }),
      );
    } catch (error) {
      throw asUnrecorded(error);
    }
  };
  const activity = new Batcher<store.ActivityQuery, store.Activity>({
    turns,
    run: (queries) => store.readActivity(hot, queries, clock.now()),
  });
  const proofs = createAssertionProofs(deps);
  const spent = createSpentAssertions();
  const clientsOf = ({ findClient: find, oneTimeValues }: ClientAccess): Clients =>
    createClients({ clock, find, proofs, spent: spent.through(oneTimeValues) });
  const context: Context = {
    ...deps,
    clients: clientsOf(deps.clients),
    clientsApart: clientsOf(deps.clientsApart),
    mint: {
      ...deps,
      sources: createTokenSources({ db: hot.db, clock }),
      decisions: createUseDecisions(deps.policies.engine),
      writer: new Batcher({ turns, run: write, maxQueue: maxWaitingTokens }),
    },
    tokens: createVerifiedTokens(deps),
    readActivity: (query) => activity.submit(query),
  };
  return {
    /** Throws `overloaded` if no token more may wait to be written. */
    assertRoom: () => context.mint.writer.assertRoom(),
    issue: (call: OauthCall, read: (clientId: string) => TokenRequest) => issue(context, call, read),
    introspect: (call: OauthCall, token: string) => introspect(context, call, token),
    revoke: (call: OauthCall, token: string) => revoke(context, call, token),
    /** The agent that holds this broker token, or undefined if it is not good now. Throws `unauthenticated`. */
    authenticate: (credential: BrokerCredential): Promise<WorkloadAgent | undefined> =>
      authenticateHolder(context, credential),
  };
}

/**
 * How many tokens may wait to be written down, beside those that are being written: a tenth of a second's work of a fast
 * core. Who comes then is told before anything is done for them, so that it costs next to nothing.
 */
const maxWaitingTokens = 1_024;

/** Once from memory, once from the database, once more if it was overtaken even so. */
const attempts = [{ fresh: false }, { fresh: true }, { fresh: true }];

async function issue(
  context: Context,
  call: OauthCall,
  read: (clientId: string) => TokenRequest,
): Promise<TokenResponse> {
  try {
    for (const attempt of attempts) {
      const client = await context.clients.authenticate(call.credentials, attempt);
      if (client.kind !== 'agent') throw new BrokerError('unauthorized-client');
      const request = read(client.id);
      const jkt = call.dpop.proofs.length === 0 ? undefined : await bind(context, call, client.id);
      const asked = { client, request, origin: call.origin, jkt };
      const token = await mint(context.mint, asked, attempt);
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
  }
  throw new BrokerError('unavailable', { retryAfterSeconds: 1, internal: 'a token kept being overtaken' });
}

/** The key that the token is to be bound to. To be asked for a nonce is no refusal of somebody unknown. */
async function bind({ dpop }: Context, call: OauthCall, clientId: string): Promise<string | undefined> {
  try {
    return await dpop.prove(call.dpop);
  } catch (error) {
    if (error instanceof BrokerError && error.code === 'use-dpop-nonce') call.identified(clientId);
    throw error;
  }
}

/** A stranger is counted elsewhere, and to be asked for another proof is no refusal. */
const unrecorded: readonly string[] = ['invalid-client', 'use-dpop-nonce'];

/** Whether somebody who has authenticated is told no. */
function isRefusal(error: unknown): error is BrokerError {
  return error instanceof BrokerError && error.entry.status < 500 && !unrecorded.includes(error.code);
}

/**
 * Records as one event that a client is refused. Memory may have vouched for one that has ended since: who cannot prove
 * itself now is told nothing but that (`invalid-client`).
 */
async function recordRefusal(
  { db, audit, clientsApart }: Context,
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

async function introspect(
  context: Context,
  { credentials, identified }: OauthCall,
  token: string,
): Promise<Introspection> {
  for (const attempt of attempts) {
    const client = await context.clients.authenticate(credentials, attempt);
    const good = await context.tokens.verify(token);
    const found = await context.readActivity({
      ...nameOf(good),
      client_kind: client.kind,
      client_id: client.id,
      client_epoch: client.epoch,
      secret_id: client.secretId,
    });
    if (!found.authentic) continue;
    identified(client.id);
    const about = client.kind === 'agent' ? found.agentId : found.resourceId;
    if (good === undefined || about === null || about !== client.id) return { active: false };
    const token_type = good.claims.cnf === undefined ? 'Bearer' : 'DPoP';
    return { active: true, token_type, ...good.claims };
  }
  throw new BrokerError('invalid-client');
}

async function revoke(context: Context, call: OauthCall, token: string): Promise<void> {
  const client = await context.clientsApart.authenticate(call.credentials, { fresh: true });
  if (client.kind !== 'agent') {
    const details = { operation: 'revokeToken', code: 'unauthorized-client' };
    await recordRefusal(context, call, { type: 'access.denied', details });
    throw new BrokerError('unauthorized-client');
  }
  call.identified(client.id);
  const good = await context.tokens.verify(token);
  if (good === undefined) return;
  const { jti, exp } = good.claims;
  const revocation = { jti, exp: new Date(exp * 1000), agentId: client.id };
  await recordRevocation(context, revocation, call.origin).catch((error: unknown) => {
    throw isKnown(error) ? error : new BrokerError('unavailable', { cause: error, retryAfterSeconds: 1 });
  });
}

/** What has a status of its own; any other failure of a write means that it is to be tried again (RFC 7009 section 2.2.1). */
function isKnown(error: unknown): boolean {
  return error instanceof BrokerError || isOutage(error);
}

async function recordRevocation(
  { db, audit, clock }: Context,
  token: { jti: string; exp: Date; agentId: string },
  origin: Origin,
): Promise<void> {
  await withTransaction(db, async (tx) => {
    const revoked = await store.revokeToken(tx, { ...token, at: clock.now() });
    if (revoked === undefined) return;
    const { agentId, jti: objectId } = token;
    const actor = { kind: 'agent' as const, id: agentId };
    const about = { agentId, grantId: revoked.grantId, objectId };
    await audit.append(tx, { type: 'token.revoked', actor, origin, ...about });
  });
}
