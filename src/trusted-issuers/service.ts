import { isDeepStrictEqual } from 'node:util';
import { byAct, type NewAuditEvent } from '../audit/audit-event.ts';
import type { Audit } from '../audit/store.ts';
import type { Act, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { violates } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import { thumbprintsOf } from '../outbound/key-source.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import * as store from './store.ts';
import {
  type Surroundings,
  type TrustedIssuer,
  type TrustedIssuerTerms,
  termsProblem,
} from './trusted-issuer.ts';

export interface TrustedIssuersDeps extends Surroundings {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
}

/** An audience that is not given is our own issuer. */
export type NewTrustedIssuer = Omit<TrustedIssuerTerms, 'audience'> & { audience?: string | undefined };

/** What is undefined stays. Keys are replaced by keys: null finds them by discovery. */
export type TrustedIssuerChange = {
  [Field in keyof Omit<TrustedIssuerTerms, 'issuer'>]?: TrustedIssuerTerms[Field] | undefined;
};

export type TrustedIssuersService = ReturnType<typeof createTrustedIssuersService>;

/** Whose tokens show who an agent is. Withdrawing trust ends what was got through it. */
export function createTrustedIssuersService(deps: TrustedIssuersDeps) {
  return {
    create: (act: Act<Person>, issuer: NewTrustedIssuer) => create(deps, act, issuer),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: TrustedIssuerChange) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    /** The one of this `iss` that is trusted; undefined: none is. */
    findByIssuer: (db: Db, issuer: string): Promise<TrustedIssuer | undefined> =>
      store.findByIssuer(db, issuer),
    /** The `iss` of one that is trusted, which nobody takes back until the transaction ends. */
    lockTrust: (tx: Tx, id: string): Promise<string | undefined> => store.lockTrust(tx, id),
  };
}

async function create(
  deps: TrustedIssuersDeps,
  act: Act<Person>,
  input: NewTrustedIssuer,
): Promise<TrustedIssuer> {
  const { db, audit, clock, ids } = deps;
  const terms = { ...input, audience: input.audience ?? deps.ownIssuer };
  const problem = termsProblem(terms, deps);
  if (problem !== undefined) throw new BrokerError('invalid-request', { detail: problem });
  const [at, by] = [clock.now(), act.caller.id];
  const author = { createdAt: at, createdBy: by, updatedAt: at, updatedBy: by };
  const issuer: TrustedIssuer = { ...terms, ...author, epoch: 1, id: ids.next('trustedIssuer') };
  const details = await describe(terms);
  try {
    await withTransaction(db, async (tx) => {
      await store.insertTrustedIssuer(tx, issuer);
      await audit.append(tx, { ...subject(act, issuer.id), type: 'trusted_issuer.created', details });
    });
  } catch (error) {
    if (!violates(error, 'trusted_issuers_issuer')) throw error;
    throw new BrokerError('conflict', { detail: 'this issuer is trusted already' });
  }
  return issuer;
}

async function list(
  { db }: TrustedIssuersDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<TrustedIssuer>> {
  return takePage(await store.listTrustedIssuers(db, { ...page, limit: page.limit + 1 }), page.limit);
}

async function get({ db }: TrustedIssuersDeps, id: string): Promise<TrustedIssuer> {
  const issuer = await store.findTrustedIssuer(db, id);
  if (issuer === undefined) throw new BrokerError('not-found');
  return issuer;
}

async function update(
  deps: TrustedIssuersDeps,
  act: Act<Person>,
  { id, change }: { id: string; change: TrustedIssuerChange },
): Promise<TrustedIssuer> {
  const { db, audit, clock } = deps;
  return withTransaction(db, async (tx) => {
    const before = await store.lockTrustedIssuer(tx, id);
    if (before === undefined) return refuse('not-found');
    const terms = apply(before, change);
    const problem = termsProblem(terms, deps);
    if (problem !== undefined) return refuse('invalid-request', { detail: problem });
    const changes = vouchesOtherwise(before, terms);
    const isWithdrawn = changes || (before.subjectTokens && !terms.subjectTokens);
    const epoch = before.epoch + (isWithdrawn ? 1 : 0);
    const issuer = { ...before, ...terms, epoch, updatedAt: clock.now(), updatedBy: act.caller.id };
    await store.updateTrustedIssuer(tx, issuer);
    const details = await describe(terms);
    await audit.append(tx, { ...subject(act, id), type: 'trusted_issuer.updated', details });
    if (changes) await renewIdentities(deps, tx, { act, id });
    if (isWithdrawn) await endForSubjects(deps, tx, { act, issuer });
    return issuer;
  });
}

/** Whether what it says of an agent is believed by other keys, or under other conditions. */
function vouchesOtherwise(before: TrustedIssuerTerms, after: TrustedIssuerTerms): boolean {
  const termsOf = ({ audience, jwks, jwksUri, claims }: TrustedIssuerTerms): unknown[] => [
    audience,
    jwks,
    jwksUri,
    claims,
  ];
  return !isDeepStrictEqual(termsOf(before), termsOf(after));
}

/** What was got by the earlier terms ends, and nothing that was looked at before is minted any more. */
async function renewIdentities(
  { audit, clock, ids }: TrustedIssuersDeps,
  tx: Tx,
  { act, id }: { act: Act<Person>; id: string },
): Promise<void> {
  const nextId = () => ids.next('proof');
  const revoked = await store.renewIdentitiesOf(tx, { trustedIssuerId: id, at: clock.now(), nextId });
  await recordIdentities(audit, tx, { act, id, revoked });
}

/** Each agent's own history says what became of its identity. */
async function recordIdentities(
  audit: Audit,
  tx: Tx,
  { act, id, revoked }: { act: Act<Person>; id: string; revoked: store.RevokedIdentity[] },
): Promise<void> {
  const events = revoked.map(({ id: proofId, clientId, next }): NewAuditEvent => {
    const details = { client_id: clientId, trusted_issuer_id: id, revoked: [proofId] };
    const about = { ...byAct(act), agentId: clientId, objectId: next ?? proofId, details };
    return { ...about, type: next === undefined ? 'agent_proof.revoked' : 'agent_proof.renewed' };
  });
  await audit.appendAll(tx, events);
}

/** Keys of one kind take the place of those of the other. */
function apply(
  before: TrustedIssuerTerms,
  { jwks, jwksUri, ...rest }: TrustedIssuerChange,
): TrustedIssuerTerms {
  const { name = before.name, audience = before.audience, claims = before.claims } = rest;
  const { subjectTokens = before.subjectTokens } = rest;
  const keepsKeys = jwks === undefined && jwksUri === undefined;
  const keys = keepsKeys
    ? { jwks: before.jwks, jwksUri: before.jwksUri }
    : { jwks: jwks ?? null, jwksUri: jwksUri ?? null };
  return { name, audience, claims, subjectTokens, issuer: before.issuer, ...keys };
}

async function remove(deps: TrustedIssuersDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock } = deps;
  await withTransaction(db, async (tx) => {
    const issuer = await store.lockTrustedIssuer(tx, id);
    if (issuer === undefined) return refuse('not-found');
    const at = clock.now();
    await store.deleteTrustedIssuer(tx, { id, at });
    await audit.append(tx, { ...subject(act, id), type: 'trusted_issuer.deleted' });
    await recordIdentities(audit, tx, { act, id, revoked: await store.revokeIdentitiesOf(tx, id, at) });
    await endForSubjects(deps, tx, { act, issuer });
    return undefined;
  });
}

/** What was handed down for its subjects ends; their tokens did with its epoch, or its removal. */
async function endForSubjects(
  { audit, clock }: TrustedIssuersDeps,
  tx: Tx,
  { act, issuer: { id, issuer } }: { act: Act<Person>; issuer: TrustedIssuer },
): Promise<void> {
  const reason = 'the issuer of whom it is for is believed otherwise, or no longer';
  const ended = await store.endGrantsForSubjects(tx, { issuer, by: act.caller.id, at: clock.now(), reason });
  await audit.appendAll(
    tx,
    ended.map(({ id: grantId, agentId }): NewAuditEvent => {
      const about = { ...byAct(act), agentId, grantId, objectId: id };
      return { ...about, type: 'grant.revoked', details: { reason } };
    }),
  );
}

function subject(act: Act<Person>, id: string) {
  return { ...byAct(act), objectId: id };
}

/** Terms under the contract's names; keys by where they are, and by their thumbprints (RFC 7638). */
async function describe({
  jwks,
  jwksUri,
  subjectTokens: subject_tokens,
  ...rest
}: TrustedIssuerTerms): Promise<Record<string, unknown>> {
  const terms = { ...rest, subject_tokens };
  if (jwks !== null) return { ...terms, keys: 'jwks', thumbprints: await thumbprintsOf(jwks) };
  return jwksUri === null
    ? { ...terms, keys: 'discovery' }
    : { ...terms, keys: 'jwks_uri', jwks_uri: jwksUri };
}
