import { areWithin, type Detail, type DetailsRules } from '../../authorization-details/details-type.ts';
import type { Act, Origin, WorkloadAgent } from '../../caller.ts';
import { BrokerError } from '../../errors.ts';
import type { HandingDown } from '../../grants/delegation/delegate.ts';
import {
  type Actor,
  actingFor,
  type Delegation,
  type SubjectId,
} from '../../grants/delegation/delegation.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Resource, sameIdentifier } from '../../resources/resource.ts';
import type { AuthenticatedClient } from '../clients/clients.ts';
import { readSignedJwt, type UnverifiedJwt } from '../clients/signed-jwt.ts';
import { lackingProof } from '../mint.ts';
import type { Activity, ActivityQuery } from '../store.ts';
import { type AccessRequest, usableUntil } from '../token-source.ts';
import { nameOf, type VerifiedTokens } from '../verified-tokens.ts';
import type { ExchangeRequest } from './exchange-request.ts';
import type { SubjectTokens } from './subject-token.ts';

export interface ExchangeDeps {
  clock: Clock;
  issuer: string;
  tokens: VerifiedTokens;
  subjects: SubjectTokens;
  readActivity: (query: ActivityQuery) => Promise<Activity>;
  delegate: (act: Act<WorkloadAgent>, handing: HandingDown) => Promise<string>;
  details: DetailsRules;
  findResource: (identifier: string) => Promise<Resource | undefined>;
}

export interface ExchangeCall {
  client: AuthenticatedClient;
  origin: Origin;
  request: ExchangeRequest;
  /** Of the key that the client has proved to hold in this request. */
  jkt: string | undefined;
}

/** What is to be minted in exchange. */
export interface Exchanged {
  request: AccessRequest;
  /** Whom it is of, if not of the client itself. */
  delegation: Delegation | undefined;
}

/**
 * What a client gets in exchange for a token (RFC 8693), by what the token says: one of ours is narrowed for the agent that has
 * it, or a grant is handed down under its; that of a trusted issuer is of somebody whom the client acts for under a grant of
 * its own. Never wider or longer than the token. Throws `invalid-subject-token`, `invalid-target`, `invalid-scope`,
 * `invalid-authorization-details`, `delegation-denied`, `too-many-grants`.
 */
export async function exchangeToken(deps: ExchangeDeps, call: ExchangeCall): Promise<Exchanged> {
  const { subjectToken, actorToken } = call.request;
  const said = readSignedJwt(subjectToken);
  if (said === undefined) throw invalid('it is no JWT');
  if (actorToken !== undefined) await assertOwnToken(deps, actorToken, call.client);
  return said.issuer === deps.issuer ? exchangeOurs(deps, call) : exchangeTheirs(deps, call, said);
}

function invalid(reason: string): BrokerError {
  return new BrokerError('invalid-subject-token', { detail: `the subject token is not good: ${reason}` });
}

/** What our tokens say: we have signed it. */
interface OurClaims {
  sub: string;
  sub_id?: SubjectId;
  act?: Actor;
  may_act?: unknown;
  cnf?: { jkt: string };
  aud: string;
  scope: string;
  grant_id?: string;
  authorization_details?: Detail[];
  jti: string;
  exp: number;
}

/** A token of ours that is active now, and the agent that has it. */
async function readActive(
  { tokens, readActivity }: ExchangeDeps,
  text: string,
): Promise<{ claims: OurClaims; agentId: string; subjects: string[] } | undefined> {
  const token = await tokens.verify(text);
  if (token === undefined) return undefined;
  const nobody = { client_kind: null, client_id: null, client_epoch: null, secret_id: null };
  const { agentId, subjects } = await readActivity({ ...nameOf(token), ...nobody });
  const claims = token.claims as unknown as OurClaims;
  return agentId === null ? undefined : { claims, agentId, subjects: [...(subjects ?? []), claims.jti] };
}

/** The client has authenticated: an actor token can only say the same. */
async function assertOwnToken(deps: ExchangeDeps, text: string, client: AuthenticatedClient): Promise<void> {
  const found = await readActive(deps, text);
  if (found?.agentId !== client.id) {
    throw new BrokerError('invalid-request', { detail: 'actor_token is no active token of this client' });
  }
}

async function exchangeOurs(deps: ExchangeDeps, call: ExchangeCall): Promise<Exchanged> {
  const { client, jkt } = call;
  const found = await readActive(deps, call.request.subjectToken);
  if (found === undefined) throw invalid('it is not active');
  const { claims, agentId, subjects } = found;
  const { grant_id: grantId, cnf } = claims;
  if (grantId === undefined) throw invalid('a broker token is for the broker alone');
  const notAfter = endOf(deps, claims.exp);
  const request = await within(deps, call.request, claims);
  if (agentId !== client.id) return handDown(deps, call, { claims, grantId, request, subjects });
  if (cnf !== undefined && cnf.jkt !== jkt) throw invalid('it is bound to another key');
  return { request: { ...request, grantId, notAfter, subjects }, delegation: delegationOf(claims) };
}

function delegationOf({ sub, sub_id, act }: OurClaims): Delegation | undefined {
  return act === undefined ? undefined : { sub, ...(sub_id === undefined ? {} : { sub_id }), act };
}

/** When it ends, which is to be long enough for another. */
function endOf({ clock }: ExchangeDeps, exp: number): Date {
  const end = new Date(exp * 1000);
  if (end < usableUntil(clock.now())) throw invalid('it ends now');
  return end;
}

type WithinToken = Omit<AccessRequest, 'scopes'> & { scopes: string[] };

/** What is asked for, which is all that the token gives where nothing is said, and never more. */
async function within(
  deps: ExchangeDeps,
  { resource, scopes, authorizationDetails: details, mayAct }: ExchangeRequest,
  { aud, scope, authorization_details: had }: OurClaims,
): Promise<WithinToken> {
  if (resource !== undefined && !sameIdentifier(resource, aud)) {
    throw new BrokerError('invalid-target', { detail: 'the subject token is for another resource' });
  }
  const given = scope.split(' ');
  if (scopes?.some((one) => !given.includes(one)) === true) {
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
  const given = areWithin(types, details, had)
    ? deps.details.problem(types, details)
    : 'the subject token does not have these authorization_details';
  if (given !== undefined) throw new BrokerError('invalid-authorization-details', { detail: given });
}

interface HandedOn {
  claims: OurClaims;
  grantId: string;
  request: WithinToken;
  /** The token, and those that it was got with. */
  subjects: string[];
}

/** Gives the client a grant under that of another agent's token. */
async function handDown(
  deps: ExchangeDeps,
  { client, origin, jkt }: ExchangeCall,
  { claims, grantId, request, subjects }: HandedOn,
): Promise<Exchanged> {
  assertMayAct(deps, client, { mayAct: claims.may_act, isBound: claims.cnf !== undefined });
  // No grant is made for a token that will be refused.
  if (await isProofMissing(deps, { client, jkt, aud: claims.aud })) throw lackingProof();
  const { sub, sub_id, act } = claims;
  const subject = { sub, ...(sub_id === undefined ? {} : { sub_id }), act };
  const delegation = delegate(subject, client);
  const notAfter = endOf(deps, claims.exp);
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
  return { request: { ...request, grantId: child, notAfter }, delegation };
}

/** Whether tokens for the resource `aud` have to be bound, or those of the client, and no proof of a key came. */
export async function isProofMissing(
  { findResource }: Pick<ExchangeDeps, 'findResource'>,
  { client, jkt, aud }: Pick<ExchangeCall, 'client' | 'jkt'> & { aud: string },
): Promise<boolean> {
  if (jkt !== undefined) return false;
  return client.requireBoundTokens || (await findResource(aud))?.requireBoundTokens === true;
}

function delegate(subject: Parameters<typeof actingFor>[0], client: AuthenticatedClient): Delegation {
  const delegation = actingFor(subject, client.id);
  if (delegation === undefined) throw invalid('so many act already that no one more may');
  return delegation;
}

/**
 * Whether the token lets the client act (RFC 8693 section 4.4): who is named, alone may; with nobody named, whoever has it,
 * unless it is bound to a key, which only who holds that has shown.
 */
function assertMayAct(
  { issuer }: ExchangeDeps,
  client: AuthenticatedClient,
  { mayAct, isBound }: { mayAct: unknown; isBound: boolean },
): void {
  if (mayAct === undefined && isBound) throw invalid('it is bound to a key, and does not say who may act');
  if (mayAct === undefined) return;
  const { iss = issuer, sub }: Partial<Actor> = (typeof mayAct === 'object' ? mayAct : null) ?? {};
  if (iss !== issuer || sub !== client.id) throw invalid('it says that another may act');
}

async function exchangeTheirs(
  deps: ExchangeDeps,
  { client, request }: ExchangeCall,
  said: UnverifiedJwt,
): Promise<Exchanged> {
  const { subjectToken, actorToken: _, resource, kind: __, ...terms } = request;
  const { sub, sub_id, act, mayAct, isBound, exp, word } = await deps.subjects.read(subjectToken, said);
  assertMayAct(deps, client, { mayAct, isBound });
  if (resource === undefined || resource === deps.issuer || resource === `${deps.issuer}/`) {
    throw new BrokerError('invalid-target', { detail: 'name the resource that the token is to be for' });
  }
  const delegation = delegate({ sub, sub_id, act }, client);
  const notAfter = endOf(deps, exp);
  return { request: { kind: 'access', resource, grantId: undefined, ...terms, notAfter, word }, delegation };
}
