import type { Detail } from '../authorization-details/details-type.ts';
import type { Origin } from '../caller.ts';
import { defaultSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import type { Batcher } from '../db/batcher.ts';
import { BrokerError } from '../errors.ts';
import type { Delegation } from '../grants/delegation/delegation.ts';
import type { KeyRing, Signer } from '../keys/key-ring.ts';
import { type Clock, toEpochSeconds } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { AuthenticatedClient } from './clients/clients.ts';
import type { MintRow } from './store.ts';
import { brokerScope, type TokenRequest } from './token-request.ts';
import { type TokenSource, type TokenSources, tokenExpiry, type UseDecisions } from './token-source.ts';

/** How long a broker token lives. */
const brokerTokenSeconds = 300;

export interface TokenResponse {
  access_token: string;
  token_type: 'Bearer' | 'DPoP';
  expires_in: number;
  scope: string;
  /** Undefined: a broker token. */
  grant_id: string | undefined;
  /** Of the token (RFC 9396 section 7); undefined: none. */
  authorization_details: readonly Detail[] | undefined;
  /** Of an exchange (RFC 8693 section 2.2.1). */
  issued_token_type?: string;
}

export interface MintDeps {
  clock: Clock;
  ids: Ids;
  issuer: string;
  ring: KeyRing;
  policies: Pick<PoliciesService, 'engine' | 'refresh'>;
  sources: TokenSources;
  decisions: UseDecisions;
  writer: Pick<Batcher<MintRow, boolean>, 'submit' | 'assertRoom'>;
}

interface Asked<Request extends TokenRequest = TokenRequest> {
  client: AuthenticatedClient;
  request: Request;
  origin: Origin;
  /** Of the key that the token is to be bound to, if it is (RFC 9449 section 6). */
  jkt: string | undefined;
  /** Whom the token is of, if neither of the client itself nor of whom its grant says. */
  delegation?: Delegation | undefined;
}

/**
 * Mints a token for an authenticated agent: its row and audit event are committed first, then it is signed with the
 * key that was recorded. Undefined: something that was looked up is out of date, and the caller looks again with
 * `fresh`. Throws `invalid-target`, `invalid-grant`, `invalid-scope`, `invalid-dpop-proof`, `no-published-key`,
 * `overloaded`.
 */
export async function mint(
  deps: MintDeps,
  asked: Asked,
  { fresh }: { fresh: boolean },
): Promise<TokenResponse | undefined> {
  if (fresh) await Promise.all([deps.ring.refresh(), deps.policies.refresh()]);
  const { client, request } = asked;
  const source = request.kind === 'broker' ? undefined : await deps.sources.find(client, request, { fresh });
  if (lacksProof(asked, source)) {
    if (!fresh) return undefined;
    throw lackingProof();
  }
  const alg = source?.alg ?? defaultSigningAlg;
  const signer = deps.ring.signer(alg) ?? (await findSigner(deps, alg));
  const now = deps.clock.now();
  // Before the policies are asked: if they change meanwhile, the row is refused for its epoch.
  const policyEpoch = deps.policies.engine.epoch;
  if (source !== undefined && !permits(deps, source, { now, ...asked })) {
    if (fresh) throw new BrokerError('invalid-grant', { detail: 'policy does not permit this use now' });
    return mint(deps, asked, { fresh: true });
  }
  const row = toRow(deps, asked, { source, now, policyEpoch, kid: signer.kid });
  if (isTooLong(row, source)) {
    throw new BrokerError('invalid-request', {
      detail: 'the token would be over 8 kB: ask for less at a time',
    });
  }
  // The client ends within this second: an agent that has ended does not authenticate.
  if (row.exp <= row.iat) throw new BrokerError('invalid-client');
  const written = await deps.writer.submit(row);
  return written ? sign(row, signer, { issuer: deps.issuer, source }) : undefined;
}

export function lackingProof(): BrokerError {
  return new BrokerError('invalid-dpop-proof', { detail: 'the token has to be bound: send a DPoP proof' });
}

/** Whether the token would be good for whoever has it, where agent or resource do not allow that. */
function lacksProof({ client, jkt }: Asked, source: TokenSource | undefined): boolean {
  return jkt === undefined && (client.requireBoundTokens || source?.resource.requireBoundTokens === true);
}

/** The active key where memory has none: another replica may have made one since. */
async function findSigner(deps: MintDeps, alg: SigningAlg): Promise<Signer> {
  await deps.ring.refresh();
  const signer = deps.ring.signer(alg);
  if (signer === undefined) throw new BrokerError('no-published-key', { retryAfterSeconds: 1 });
  return signer;
}

function permits(
  { decisions }: MintDeps,
  source: TokenSource,
  { now, client, origin, delegation }: Pick<Asked, 'client' | 'origin' | 'delegation'> & { now: Date },
): boolean {
  const delegated = delegation === undefined ? undefined : true;
  return decisions.permits(source, { now, address: origin.address, authMethod: client.method, delegated });
}

/**
 * Of what may be long. Beside it there are up to 1,250 bytes of other claims (an identifier has 512), in base64url 3 bytes are 4,
 * and header and signature take up to 500.
 */
const longestClaims = 4_500;

/** Whether nobody who takes tokens of up to 8 kB would take it. Most are told by the length of their scopes. */
function isTooLong({ scope, delegation }: MintRow, source: TokenSource | undefined): boolean {
  const details = source?.authorizationDetails;
  if (details === undefined && delegation === undefined) return scope.length > longestClaims;
  return Buffer.byteLength(JSON.stringify([scope, details, delegation])) > longestClaims;
}

/** The row of a token: for the broker itself unless there is a source. One literal, because this is the hot path. */
function toRow(
  { ids }: MintDeps,
  { client, origin, jkt, request, delegation }: Asked,
  made: { source: TokenSource | undefined; now: Date; policyEpoch: bigint | undefined; kid: string },
): MintRow {
  const { source, now, policyEpoch, kid } = made;
  const { grant, resource } = source ?? {};
  return {
    jti: ids.next('token'),
    iat: toEpochSeconds(now),
    exp: tokenExpiry(now, resource?.tokenTtlSeconds ?? brokerTokenSeconds, [
      grant?.expiresAt,
      client.expiresAt,
      request.notAfter,
    ]),
    agent_id: client.id,
    agent_epoch: client.epoch,
    secret_id: client.secretId,
    auth_method: client.method,
    jkt,
    scope: source?.scope ?? brokerScope,
    authorization_details: request.kind === 'access' ? request.authorizationDetails : undefined,
    delegation: delegation ?? grant?.delegation ?? undefined,
    may_act: request.mayAct,
    subjects: request.subjects,
    subject_issuer_id: request.word?.issuerId,
    subject_issuer_epoch: request.word?.epoch,
    kid,
    grant_id: grant?.id,
    grant_version: grant?.version,
    selection: source?.selection,
    resource_id: resource?.id,
    resource_epoch: resource?.epoch,
    resource_version: resource?.version,
    policy_epoch: source === undefined || policyEpoch === undefined ? undefined : String(policyEpoch),
    event_id: ids.next('event'),
    request_id: origin.requestId,
    source_ip: origin.address,
  };
}

/** RFC 8693 sections 4.1 and 4.4, RFC 9068 section 2.2, RFC 9396 section 9.1, RFC 9449 section 6.1. */
function sign(
  row: MintRow,
  signer: Signer,
  { issuer: iss, source }: { issuer: string; source: TokenSource | undefined },
): TokenResponse {
  const { agent_id, iat, exp, jti, scope, grant_id, jkt, delegation, may_act } = row;
  const aud = source?.resource.identifier ?? iss;
  // What is undefined is no member: JSON leaves it out.
  const authorization_details = source?.authorizationDetails;
  const cnf = jkt === undefined ? undefined : { jkt };
  const claims = {
    iss,
    sub: delegation?.sub ?? agent_id,
    sub_id: delegation?.sub_id,
    act: delegation?.act,
    may_act: may_act === undefined ? undefined : { sub: may_act },
    aud,
    client_id: agent_id,
    iat,
    exp,
    jti,
    scope,
    grant_id,
    authorization_details,
    cnf,
  };
  return {
    access_token: signer.sign(claims),
    token_type: jkt === undefined ? 'Bearer' : 'DPoP',
    expires_in: exp - iat,
    scope,
    grant_id,
    authorization_details,
  };
}
