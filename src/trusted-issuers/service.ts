import { isDeepStrictEqual } from 'node:util';
import type { Audit } from '../audit/audit.ts';
import { byAct, type NewAuditEvent } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { violates } from '../db/sqlstate.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, refuse } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import { nameKeys, thumbprintsOf } from '../outbound/key-source.ts';
import { byCodeUnit } from '../platform/canonical-json.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import { toCanonicalConditions } from './conditions.ts';
import * as store from './store.ts';
import {
  type Surroundings,
  type TrustedIssuer,
  type TrustedIssuerTerms,
  termsProblem,
  type VersionedIssuer,
} from './trusted-issuer.ts';

export interface TrustedIssuersDeps extends Surroundings {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
}

/** The terms of a new trusted issuer. The audience is the issuer of this server if it is not given. */
export type NewTrustedIssuer = Omit<TrustedIssuerTerms, 'audience'> & { audience?: string | undefined };

/**
 * A change. Undefined members stay as they are. New keys replace the old ones; null means that keys are found by
 * discovery.
 */
export type TrustedIssuerChange = {
  [Field in keyof Omit<TrustedIssuerTerms, 'issuer'>]?: TrustedIssuerTerms[Field] | undefined;
};

export type TrustedIssuersService = ReturnType<typeof createTrustedIssuersService>;

/**
 * Creates the service for trusted issuers, whose tokens authenticate agents. Withdrawing trust ends what was obtained
 * with their tokens.
 */
export function createTrustedIssuersService(deps: TrustedIssuersDeps) {
  return {
    create: (act: Act<Person>, issuer: NewTrustedIssuer) => create(deps, act, issuer),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: TrustedIssuerChange) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    /** Finds the trusted issuers with this `iss`. */
    findByIssuer: (db: Db, issuer: string): Promise<VersionedIssuer[]> => store.findByIssuer(db, issuer),
    /** Finds an issuer and locks it against changes until the transaction ends; undefined if it is not trusted. */
    lockTrust: (tx: Tx, id: string): Promise<TrustedIssuer | undefined> => store.lockTrust(tx, id),
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
  const [details, keySource] = [await describe(terms), await describeKeySource(terms)];
  try {
    await withTransaction(db, async (tx) => {
      await store.insertTrustedIssuer(tx, issuer, keySource);
      await audit.append(tx, { ...subject(act, issuer.id), type: 'trusted_issuer.created', details });
    });
  } catch (error) {
    throw toConflict(error);
  }
  return issuer;
}

function toConflict(error: unknown): unknown {
  if (!violates(error, 'trusted_issuers_one_source')) return error;
  const detail = 'an issuer with this issuer, audience and source of keys is trusted already';
  return new BrokerError('conflict', { detail });
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
  const { db, audit, clock, grantEndings } = deps;
  const updated = await withTransaction(db, async (tx) => {
    const before = await store.lockTrustedIssuer(tx, id);
    if (before === undefined) return refuse('not-found');
    const terms = apply(before, change);
    const problem = termsProblem(terms, deps);
    if (problem !== undefined) return refuse('invalid-request', { detail: problem });
    const changes = await isNarrowed(before, terms);
    const isWithdrawn = changes || (before.subjectTokens && !terms.subjectTokens);
    const epoch = before.epoch + (isWithdrawn ? 1 : 0);
    const issuer = { ...before, ...terms, epoch, updatedAt: clock.now(), updatedBy: act.caller.id };
    await store.updateTrustedIssuer(tx, issuer, await describeKeySource(terms));
    const details = await describe(terms);
    await audit.append(tx, { ...subject(act, id), type: 'trusted_issuer.updated', details });
    if (changes) await renewIdentities(deps, tx, { act, id });
    if (isWithdrawn) await endDerivedGrants(deps, tx, { act, id });
    return issuer;
  }).catch((error: unknown) => {
    throw toConflict(error);
  });
  await grantEndings.settle();
  return updated;
}

/**
 * Whether a token that authenticated an agent under the earlier terms may no longer do so. Additional keys or names of
 * tenant claims, and another order, do not narrow the terms.
 */
async function isNarrowed(before: TrustedIssuerTerms, after: TrustedIssuerTerms): Promise<boolean> {
  const termsOf = ({ audience, jwksUri, claims }: TrustedIssuerTerms): unknown[] => [
    audience,
    jwksUri,
    toCanonicalConditions(claims),
  ];
  if (!isDeepStrictEqual(termsOf(before), termsOf(after))) return true;
  if (before.tenantClaims.some((name) => !after.tenantClaims.includes(name))) return true;
  if (before.jwks === null || after.jwks === null) return before.jwks !== after.jwks;
  const kept = new Set(await nameKeys(after.jwks));
  return (await nameKeys(before.jwks)).some((key) => !kept.has(key));
}

/** Describes where the keys of an issuer are. Sets of the same usable keys have the same description, in any order. */
async function describeKeySource({ jwks, jwksUri }: TrustedIssuerTerms): Promise<string> {
  if (jwksUri !== null) return `jwks_uri ${jwksUri}`;
  return jwks === null ? 'discovery' : `jwks ${(await nameKeys(jwks)).sort(byCodeUnit).join(' ')}`;
}

/** Ends what was obtained under the earlier terms. A request that read the earlier terms gets no token any more. */
async function renewIdentities(
  { audit, clock, ids }: TrustedIssuersDeps,
  tx: Tx,
  { act, id }: { act: Act<Person>; id: string },
): Promise<void> {
  const nextId = () => ids.next('credential');
  const revoked = await store.renewIdentitiesOf(tx, { trustedIssuerId: id, at: clock.now(), nextId });
  await recordIdentities(audit, tx, { act, id, revoked });
}

/** Appends an audit event to the history of each agent whose identity was revoked or replaced. */
async function recordIdentities(
  audit: Audit,
  tx: Tx,
  { act, id, revoked }: { act: Act<Person>; id: string; revoked: store.RevokedIdentity[] },
): Promise<void> {
  const events = revoked.map(({ id: credentialId, clientId, next }): NewAuditEvent => {
    const details = { client_id: clientId, trusted_issuer_id: id, revoked: [credentialId] };
    const about = { ...byAct(act), agentId: clientId, objectId: next ?? credentialId, details };
    return { ...about, type: next === undefined ? 'agent_credential.revoked' : 'agent_credential.renewed' };
  });
  await audit.appendAll(tx, events);
}

/** Applies a change. Keys of one kind replace those of the other kind. */
function apply(
  before: TrustedIssuerTerms,
  { jwks, jwksUri, ...rest }: TrustedIssuerChange,
): TrustedIssuerTerms {
  const { name = before.name, audience = before.audience, claims = before.claims } = rest;
  const { subjectTokens = before.subjectTokens, tenantClaims = before.tenantClaims } = rest;
  const keepsKeys = jwks === undefined && jwksUri === undefined;
  const keys = keepsKeys
    ? { jwks: before.jwks, jwksUri: before.jwksUri }
    : { jwks: jwks ?? null, jwksUri: jwksUri ?? null };
  return { name, audience, claims, tenantClaims, subjectTokens, issuer: before.issuer, ...keys };
}

async function remove(deps: TrustedIssuersDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock, grantEndings } = deps;
  await withTransaction(db, async (tx) => {
    if ((await store.lockTrustedIssuer(tx, id)) === undefined) return refuse('not-found');
    const at = clock.now();
    await store.deleteTrustedIssuer(tx, { id, at });
    await audit.append(tx, { ...subject(act, id), type: 'trusted_issuer.deleted' });
    await recordIdentities(audit, tx, { act, id, revoked: await store.revokeIdentitiesOf(tx, id, at) });
    await endDerivedGrants(deps, tx, { act, id });
    return undefined;
  });
  await grantEndings.settle();
}

/**
 * Ends the grants that were delegated for subjects of the issuer or for tokens of its agents. The tokens ended with
 * its epoch or its deletion.
 */
async function endDerivedGrants(
  { clock, grantEndings }: TrustedIssuersDeps,
  tx: Tx,
  { act, id }: { act: Act<Person>; id: string },
): Promise<void> {
  const reason = 'the trusted issuer of its subject token changed or is no longer trusted';
  const selection = { kind: 'tokens_by_issuer' as const, issuerId: id };
  await grantEndings.end(tx, { ...subject(act, id), selection, at: clock.now(), reason });
}

function subject(act: Act<Person>, id: string) {
  return { ...byAct(act), objectId: id };
}

/**
 * Returns the terms under their names in the contract, for audit events. Keys are described by their location and by
 * their thumbprints (RFC 7638).
 */
async function describe({
  jwks,
  jwksUri,
  subjectTokens: subject_tokens,
  tenantClaims: tenant_claims,
  ...rest
}: TrustedIssuerTerms): Promise<Record<string, unknown>> {
  const terms = { ...rest, tenant_claims, subject_tokens };
  if (jwks !== null) return { ...terms, keys: 'jwks', thumbprints: await thumbprintsOf(jwks) };
  return jwksUri === null
    ? { ...terms, keys: 'discovery' }
    : { ...terms, keys: 'jwks_uri', jwks_uri: jwksUri };
}
