import type { Detail } from '../authorization-details/details-type.ts';
import type { Origin } from '../caller.ts';
import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import { defaultSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import { BrokerError } from '../errors.ts';
import type { Delegation } from '../grants/delegation.ts';
import type { KeyRing, Signer } from '../keys/key-ring.ts';
import type { Batcher } from '../platform/batcher.ts';
import { type Clock, toEpochSeconds } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { MintRow } from './store/mint-tokens.ts';
import { tokenExpiry } from './token-expiry.ts';
import { brokerScope, type TokenRequest } from './token-request.ts';
import type { TokenSource, TokenSources } from './token-source.ts';
import type { UseDecisions } from './use-decisions.ts';

/** The lifetime of a broker token. */
const brokerTokenSeconds = 300;

export interface TokenResponse {
  access_token: string;
  token_type: 'Bearer' | 'DPoP';
  expires_in: number;
  scope: string;
  /** The id of the grant; undefined for a broker token. */
  grant_id: string | undefined;
  /** The details of the token (RFC 9396 section 7); undefined if it has none. */
  authorization_details: readonly Detail[] | undefined;
  /** The issued token type; only for an exchange (RFC 8693 section 2.2.1). */
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

/** An authenticated request for a token. */
export interface MintRequest {
  client: AuthenticatedClient;
  request: TokenRequest;
  origin: Origin;
  /** The thumbprint of the key to bind the token to (RFC 9449 section 6); undefined for a bearer token. */
  jkt: string | undefined;
  /** The subject and the actors of the token, if they are neither the client itself nor those of its grant. */
  delegation?: Delegation | undefined;
}

/**
 * Mints a token for an authenticated agent. The row and the audit event are committed first, then the token is signed
 * with the recorded key. Returns undefined if something in memory is out of date: the caller retries with `fresh`.
 * Throws `invalid-target`, `invalid-grant`, `invalid-scope`, `invalid-authorization-details`, `invalid-dpop-proof`,
 * `no-published-key`, `overloaded`, `invalid-client`, `invalid-request` (the token would be too long).
 */
export async function mint(
  deps: MintDeps,
  mintRequest: MintRequest,
  { fresh }: { fresh: boolean },
): Promise<TokenResponse | undefined> {
  if (fresh) await Promise.all([deps.ring.refresh(), deps.policies.refresh()]);
  const { client, request } = mintRequest;
  const source = request.kind === 'broker' ? undefined : await deps.sources.find(client, request, { fresh });
  if (isProofMissing(mintRequest, source)) {
    if (!fresh) return undefined;
    throw missingProof();
  }
  const alg = source?.alg ?? defaultSigningAlg;
  const signer = deps.ring.signer(alg) ?? (await findSigner(deps, alg));
  const now = deps.clock.now();
  // Read before the decision: if the policies change meanwhile, the row is refused for its epoch.
  const policyEpoch = deps.policies.engine.epoch;
  if (source !== undefined && !permits(deps, source, { now, ...mintRequest })) {
    if (fresh) throw new BrokerError('invalid-grant', { detail: 'policy does not permit this use now' });
    return mint(deps, mintRequest, { fresh: true });
  }
  const row = toRow(deps, mintRequest, { source, now, policyEpoch, kid: signer.kid });
  if (isTooLong(row, source)) {
    throw new BrokerError('invalid-request', {
      detail: 'the token would exceed 8 kB: request fewer scopes or details',
    });
  }
  // The client expires within this second, and an expired client does not authenticate.
  if (row.exp <= row.iat) {
    const internal = 'the client, or the token by which it authenticated, expires within this second';
    throw new BrokerError('invalid-client', { internal });
  }
  const written = await deps.writer.submit(row);
  return written ? sign(row, signer, { issuer: deps.issuer, source }) : undefined;
}

/** Makes the refusal of a request that must bind its token to a key and has no DPoP proof. */
export function missingProof(): BrokerError {
  return new BrokerError('invalid-dpop-proof', { detail: 'the token must be bound: send a DPoP proof' });
}

/** Whether the client or the resource requires a bound token and the request has no DPoP proof. */
function isProofMissing({ client, jkt }: MintRequest, source: TokenSource | undefined): boolean {
  return jkt === undefined && (client.requireBoundTokens || source?.resource.requireBoundTokens === true);
}

/** Finds the active key in the database if memory has none: another replica may have made it since. */
async function findSigner(deps: MintDeps, alg: SigningAlg): Promise<Signer> {
  await deps.ring.refresh();
  const signer = deps.ring.signer(alg);
  if (signer === undefined) throw new BrokerError('no-published-key', { retryAfterSeconds: 1 });
  return signer;
}

function permits(
  { decisions }: MintDeps,
  source: TokenSource,
  { now, client, origin, delegation }: Pick<MintRequest, 'client' | 'origin' | 'delegation'> & { now: Date },
): boolean {
  const delegated = delegation === undefined ? undefined : true;
  return decisions.permits(source, { now, address: origin.address, authMethod: client.method, delegated });
}

/**
 * The most bytes of the claims that may be long. The other claims take up to 1,250 bytes (an identifier 512),
 * base64url turns 3 bytes into 4, and header and signature take up to 500, so the token stays under 8 kB.
 */
const longestClaims = 4_500;

/** Whether the token would be over 8 kB, which many servers refuse. For most tokens the length of the scope decides. */
function isTooLong({ scope, delegation }: MintRow, source: TokenSource | undefined): boolean {
  const details = source?.authorizationDetails;
  if (details === undefined && delegation === undefined) return scope.length > longestClaims;
  return Buffer.byteLength(JSON.stringify([scope, details, delegation])) > longestClaims;
}

/** Makes the row of a token, a broker token without a source. One object literal, because this is the hot path. */
function toRow(
  { ids }: MintDeps,
  { client, origin, jkt, request, delegation }: MintRequest,
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
    is_repeated: request.isRepeated,
    subject_issuer_id: request.subjectIssuer?.id,
    subject_issuer_epoch: request.subjectIssuer?.epoch,
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

/** Signs the token (RFC 8693 sections 4.1 and 4.4, RFC 9068 section 2.2, RFC 9396 section 9.1, RFC 9449 section 6.1). */
function sign(
  row: MintRow,
  signer: Signer,
  { issuer: iss, source }: { issuer: string; source: TokenSource | undefined },
): TokenResponse {
  const { agent_id, iat, exp, jti, scope, grant_id, jkt, delegation, may_act } = row;
  const aud = source?.resource.identifier ?? iss;
  // Undefined members are left out of the JSON.
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
