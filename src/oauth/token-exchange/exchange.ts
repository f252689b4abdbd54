import { areWithin, type Detail, type DetailsRules } from '../../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../../caller.ts';
import type { AuthenticatedClient } from '../../client-auth/authenticated-client.ts';
import { restrictionFailure } from '../../client-auth/restrictions.ts';
import { parseSignedJwt, type UnverifiedJwt } from '../../client-auth/signed-jwt.ts';
import { BrokerError } from '../../errors.ts';
import { actingFor, type Delegation } from '../../grants/delegation.ts';
import type { Clock } from '../../platform/clock.ts';
import type { DelegationTerms } from '../../requests/delegation/delegate.ts';
import { type Resource, sameIdentifier } from '../../resources/resource.ts';
import type { ActiveToken, IssuedClaims } from '../../tokens/active-token.ts';
import { missingProof } from '../../tokens/mint.ts';
import { usableUntil } from '../../tokens/token-expiry.ts';
import type { AccessRequest } from '../../tokens/token-request.ts';
import { isForBroker } from '../shape.ts';
import type { ExchangeCall, Exchanged, ExchangeRequest } from './exchange-call.ts';
import type { KnownExchanges } from './known-exchanges.ts';
import type { SubjectTokens } from './subject-token.ts';

export interface ExchangeDeps {
  clock: Clock;
  issuer: string;
  /** Finds an active token of this server; undefined if the text is not one. */
  findActive: (text: string) => Promise<ActiveToken | undefined>;
  subjects: SubjectTokens;
  delegate: (act: Act<WorkloadAgent>, terms: DelegationTerms) => Promise<string>;
  details: DetailsRules;
  findResource: (identifier: string) => Promise<Resource | undefined>;
  known: KnownExchanges;
}

/**
 * Exchanges a token (RFC 8693). If the client itself holds the token of this server, the result is a narrower token under
 * the same grant. If another agent holds it, its grant is delegated to the client. For a token of a trusted issuer,
 * the client acts for the subject under its own grant. The result is never wider than the token and never expires
 * later. Throws `invalid-subject-token`, `invalid-target`, `invalid-scope`, `invalid-authorization-details`,
 * `delegation-denied`, `too-many-grants`.
 */
export async function exchangeToken(deps: ExchangeDeps, call: ExchangeCall): Promise<Exchanged> {
  const { subjectToken, actorToken } = call.request;
  const unverified = parseSignedJwt(subjectToken);
  if (unverified === undefined) throw invalid('it is not a JWT');
  if (actorToken !== undefined) await assertOwnToken(deps, actorToken, call.client);
  return unverified.issuer === deps.issuer
    ? exchangeOwnToken(deps, call)
    : exchangeForeignToken(deps, call, unverified);
}

function invalid(reason: string): BrokerError {
  return new BrokerError('invalid-subject-token', { detail: `invalid subject token: ${reason}` });
}

/** Asserts that the actor token is an active token of the authenticated client: it cannot name another actor. */
async function assertOwnToken(deps: ExchangeDeps, text: string, client: AuthenticatedClient): Promise<void> {
  const found = await deps.findActive(text);
  if (found?.agentId !== client.id) {
    throw new BrokerError('invalid-request', { detail: 'actor_token is not an active token of this client' });
  }
}

/** The most exchanges in a row: a token names every token before it, and each of them is looked up at every use. */
const maxSubjects = 8;

async function exchangeOwnToken(deps: ExchangeDeps, call: ExchangeCall): Promise<Exchanged> {
  const { client, jkt } = call;
  const found = await deps.findActive(call.request.subjectToken);
  if (found === undefined) throw invalid('it is not active');
  const { claims, agentId, subjects } = found;
  if (subjects.length > maxSubjects) throw invalid('it is the last of too many exchanges in a row');
  const { grant_id: grantId, cnf } = claims;
  if (grantId === undefined) throw invalid('it is a broker token, which only the broker accepts');
  const notAfter = expiryOf(deps, claims.exp);
  const request = await within(deps, call.request, claims);
  if (agentId !== client.id) return delegateGrant(deps, call, { claims, grantId, request, subjects });
  if (cnf !== undefined && cnf.jkt !== jkt) throw invalid('it is bound to another key');
  return { request: { ...request, grantId, notAfter, subjects }, delegation: delegationOf(claims) };
}

function delegationOf({ sub, sub_id, act }: IssuedClaims): Delegation | undefined {
  return act === undefined ? undefined : { sub, ...(sub_id === undefined ? {} : { sub_id }), act };
}

/** Returns the expiry of a subject token. Throws if it is too soon for any token to be issued. */
function expiryOf({ clock }: ExchangeDeps, exp: number): Date {
  const end = new Date(exp * 1000);
  if (end < usableUntil(clock.now())) throw invalid('it expires too soon');
  return end;
}

type WithinToken = Omit<AccessRequest, 'scopes'> & { scopes: string[] };

/**
 * Returns the requested token, limited to the subject token. What the request leaves out is taken from the subject
 * token.
 */
async function within(
  deps: ExchangeDeps,
  { resource, scopes, authorizationDetails: details, mayAct }: ExchangeRequest,
  { aud, scope, authorization_details: had }: IssuedClaims,
): Promise<WithinToken> {
  if (resource !== undefined && !sameIdentifier(resource, aud)) {
    throw new BrokerError('invalid-target', { detail: 'the subject token is for another resource' });
  }
  const given = scope.split(' ');
  if (scopes?.some((scope) => !given.includes(scope)) === true) {
    throw new BrokerError('invalid-scope', { detail: 'the subject token does not have these scopes' });
  }
  if (details !== undefined) await assertDetails(deps, { details, had: had ?? [], aud });
  const terms = { resource: aud, grantId: undefined, mayAct, authorizationDetails: details ?? had };
  return { kind: 'access', scopes: scopes ?? given, ...terms };
}

async function assertDetails(
  deps: ExchangeDeps,
  { details, had, aud }: { details: Detail[]; had: Detail[]; aud: string },
): Promise<void> {
  const types = (await deps.findResource(aud))?.authorizationDetailsTypes ?? [];
  const problem = areWithin(types, details, had)
    ? deps.details.problem(types, details)
    : 'the subject token does not have these authorization_details';
  if (problem !== undefined) throw new BrokerError('invalid-authorization-details', { detail: problem });
}

interface Delegated {
  claims: IssuedClaims;
  grantId: string;
  request: WithinToken;
  /** The ids of the token and of the tokens that it was issued for. */
  subjects: string[];
}

/** Delegates the grant of another agent's token to the client. */
async function delegateGrant(
  deps: ExchangeDeps,
  call: ExchangeCall,
  { claims, grantId, request, subjects }: Delegated,
): Promise<Exchanged> {
  const { client, origin, jkt } = call;
  assertMayAct(deps, client, claims);
  // Checked before the grant is made, because the token would be refused.
  if (await isProofMissing(deps, { client, jkt, aud: claims.aud })) throw missingProof();
  const { sub, sub_id, act } = claims;
  const subject = { sub, ...(sub_id === undefined ? {} : { sub_id }), act };
  const delegation = addActor(subject, client);
  const notAfter = expiryOf(deps, claims.exp);
  const child = await deps.delegate(
    { caller: { kind: 'agent', id: client.id, authMethod: client.method }, origin },
    {
      parentId: grantId,
      scopes: request.scopes,
      authorizationDetails: request.authorizationDetails ?? null,
      delegation,
      notAfter,
      subjects,
    },
  );
  const exchanged = { request: { ...request, grantId: child, notAfter }, delegation };
  deps.known.remember(call, exchanged);
  return exchanged;
}

/** Whether the client or the resource `aud` requires bound tokens and the request has no DPoP proof. */
export async function isProofMissing(
  { findResource }: Pick<ExchangeDeps, 'findResource'>,
  { client, jkt, aud }: Pick<ExchangeCall, 'client' | 'jkt'> & { aud: string },
): Promise<boolean> {
  if (jkt !== undefined) return false;
  return client.requireBoundTokens || (await findResource(aud))?.requireBoundTokens === true;
}

function addActor(subject: Parameters<typeof actingFor>[0], client: AuthenticatedClient): Delegation {
  const delegation = actingFor(subject, client.id);
  if (delegation === undefined) throw invalid('it has the maximum number of actors');
  return delegation;
}

/**
 * Asserts that a client that is not the holder may act with a token of this server (RFC 8693 section
 * 4.4). If `may_act` names an actor, only that actor may; it need not prove the key of `cnf`, which
 * is the holder's. Without `may_act` any client may, unless the token is bound to a key.
 */
function assertMayAct({ issuer }: ExchangeDeps, client: AuthenticatedClient, claims: IssuedClaims): void {
  const { may_act, cnf } = claims;
  if (may_act === undefined && cnf !== undefined) {
    throw invalid('it is bound to a key and has no may_act');
  }
  const use = { issuer, actorId: client.id, jkt: undefined };
  if (restrictionFailure({ may_act }, use) !== undefined) throw invalid('its may_act names another actor');
}

async function exchangeForeignToken(
  deps: ExchangeDeps,
  { client, request, jkt }: ExchangeCall,
  unverified: UnverifiedJwt,
): Promise<Exchanged> {
  const { subjectToken, actorToken: _, resource, ...terms } = request;
  const use = { actorId: client.id, jkt };
  const subject = await deps.subjects.read(subjectToken, unverified, use);
  const { sub, sub_id, act, exp, issuer: subjectIssuer } = subject;
  if (resource === undefined || isForBroker({ resource }, deps.issuer)) {
    throw new BrokerError('invalid-target', { detail: 'the resource of the token is missing' });
  }
  const delegation = addActor({ sub, sub_id, act }, client);
  const notAfter = expiryOf(deps, exp);
  return {
    request: { kind: 'access', resource, grantId: undefined, ...terms, notAfter, subjectIssuer },
    delegation,
  };
}
