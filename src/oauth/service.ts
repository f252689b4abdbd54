import { byAct } from '../audit/audit-event.ts';
import { type Audit, asUnrecorded } from '../audit/store.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import { Batcher } from '../db/batcher.ts';
import type { Db } from '../db/database.ts';
import type { HotStatements } from '../db/hot-statements.ts';
import { isOutage } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError } from '../errors.ts';
import type { GrantsService } from '../grants/service.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import { createAdmission } from '../platform/admission.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Turns } from '../platform/turns.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { OneTimeValues } from '../replay/one-time-values.ts';
import type { ResourcesService } from '../resources/service.ts';
import { authenticateHolder, type BrokerCredential } from './broker-token.ts';
import { createAssertionProofs, createSpentAssertions } from './clients/assertion-proof.ts';
import type { Finders } from './clients/client-records.ts';
import { type Clients, createClients } from './clients/clients.ts';
import type { Dpop } from './dpop/dpop.ts';
import type { ExchangeDeps } from './exchange/exchange.ts';
import { createSubjectTokens } from './exchange/subject-token.ts';
import { attempts, type IssueDeps, issue, type ReadTokenRequest, recordRefusal } from './issue.ts';
import type { OauthCall } from './oauth-call.ts';
import * as store from './store.ts';
import { createTokenSources, createUseDecisions, usableUntil } from './token-source.ts';
import { createVerifiedTokens, nameOf } from './verified-tokens.ts';

/** How clients are found, and where it is kept what they have used up. */
export interface ClientAccess {
  findClient: Finders;
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
  details: DetailsRules;
  grants: Pick<GrantsService, 'delegate' | 'endGotWith' | 'demand'>;
  resources: Pick<ResourcesService, 'findByIdentifier'>;
}

export interface Introspection {
  active: boolean;
  [claim: string]: unknown;
}

export type OauthService = ReturnType<typeof createOauthService>;

type Context = Omit<OauthDeps, 'clients' | 'clientsApart'> &
  IssueDeps &
  Pick<ExchangeDeps, 'tokens' | 'readActivity'>;

/** Tokens: issued, asked about, revoked. */
export function createOauthService(deps: OauthDeps) {
  const context = createContext(deps);
  return {
    /** Throws `overloaded` if no token more may wait to be written. */
    assertRoom: () => context.mint.writer.assertRoom(),
    issue: (call: OauthCall, read: ReadTokenRequest) => issue(context, call, read),
    introspect: (call: OauthCall, token: string) => introspect(context, call, token),
    revoke: (call: OauthCall, token: string) => revoke(context, call, token),
    /** The agent that holds this broker token, or undefined if it is not good now. Throws `unauthenticated`. */
    authenticate: (credential: BrokerCredential): Promise<WorkloadAgent | undefined> =>
      authenticateHolder(context, credential),
  };
}

function createContext(deps: OauthDeps): Context {
  const { clock, hot, turns } = deps;
  const activity = new Batcher<store.ActivityQuery, store.Activity>({
    turns,
    run: (queries) => store.readActivity(hot, queries, clock.now()),
  });
  const proofs = createAssertionProofs(deps);
  const spent = createSpentAssertions();
  const clientsOf = ({ findClient: find, oneTimeValues }: ClientAccess): Clients =>
    createClients({ clock, find, proofs, spent: spent.through(oneTimeValues) });
  const tokens = createVerifiedTokens(deps);
  const readActivity = (query: store.ActivityQuery) => activity.submit(query);
  return {
    ...deps,
    tokens,
    readActivity,
    exchange: createExchange(deps, { tokens, readActivity }),
    exchanging: createAdmission({
      ...exchanging,
      full: new BrokerError('overloaded', { retryAfterSeconds: 1 }),
    }),
    onDemand: deps.grants,
    clients: clientsOf(deps.clients),
    clientsApart: clientsOf(deps.clientsApart),
    mint: {
      ...deps,
      sources: createTokenSources({ db: hot.db, clock, details: deps.details }),
      decisions: createUseDecisions(deps.policies.engine),
      writer: createWriter(deps),
    },
  };
}

function createExchange(deps: OauthDeps, read: Pick<ExchangeDeps, 'tokens' | 'readActivity'>): ExchangeDeps {
  const { clock, issuer, db, keySets, grants, resources } = deps;
  const { subjectIssuer: findIssuer } = deps.clientsApart.findClient;
  return {
    ...read,
    clock,
    issuer,
    subjects: createSubjectTokens({ clock, ownIssuer: issuer, keySets, findIssuer }),
    delegate: grants.delegate,
    details: deps.details,
    findResource: (identifier) => resources.findByIdentifier(db, identifier),
  };
}

/** Writes the tokens of many requests together. */
function createWriter({ clock, hot, turns, withPartitions }: OauthDeps): Batcher<store.MintRow, boolean> {
  const run = async (rows: store.MintRow[]) => {
    const now = clock.now();
    try {
      return await withPartitions(() => store.mintTokens(hot, rows, { now, usableUntil: usableUntil(now) }));
    } catch (error) {
      throw asUnrecorded(error);
    }
  };
  return new Batcher({ turns, run, maxQueue: maxWaitingTokens });
}

/**
 * How many tokens may wait to be written down, beside those that are being written: a tenth of a second's work of a fast
 * core. Who comes then is told before anything is done for them, so that it costs next to nothing.
 */
const maxWaitingTokens = 1_024;

/** An exchange takes some twenty look-ups, and all are done in turn that go back to one agent. */
const exchanging = { most: 128, mostOfOne: 64 };

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
  const revoked = { jti, exp: new Date(exp * 1000), agentId: client.id };
  const caller = { kind: 'agent' as const, id: client.id, authMethod: client.method };
  const act = { caller, origin: call.origin };
  await recordRevocation(context, revoked, act).catch((error: unknown) => {
    throw isKnown(error) ? error : new BrokerError('unavailable', { cause: error, retryAfterSeconds: 1 });
  });
}

/** What has a status of its own; any other failure of a write means that it is to be tried again (RFC 7009 section 2.2.1). */
function isKnown(error: unknown): boolean {
  return error instanceof BrokerError || isOutage(error);
}

/** What was got with the token in exchange ends with it. */
async function recordRevocation(
  { db, audit, clock, grants }: Context,
  token: { jti: string; exp: Date; agentId: string },
  act: Act<WorkloadAgent>,
): Promise<void> {
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    const revoked = await store.revokeToken(tx, { ...token, at });
    if (revoked === undefined) return;
    const { agentId, jti } = token;
    const about = { agentId, grantId: revoked.grantId, objectId: jti };
    await audit.append(tx, { ...byAct(act), type: 'token.revoked', ...about });
    if (revoked.grantId !== null) await grants.endGotWith(tx, act, { jti, at });
  });
}
