import type { Origin } from '../caller.ts';
import { defaultSigningAlg, type SigningAlg } from '../crypto/algorithms.ts';
import { BrokerError } from '../errors.ts';
import type { KeyRing, Signer } from '../keys/key-ring.ts';
import { type Clock, toEpochSeconds } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { PoliciesService } from '../policies/service.ts';
import type { Batcher } from './batcher.ts';
import type { AuthenticatedClient } from './clients.ts';
import type { MintRow } from './store.ts';
import { brokerScope, type TokenRequest } from './token-request.ts';
import { type TokenSources, tokenExpiry, type UseDecisions } from './token-source.ts';

/** How long a broker token lives. */
const brokerTokenSeconds = 300;

export interface TokenResponse {
  access_token: string;
  token_type: 'Bearer';
  expires_in: number;
  scope: string;
  grant_id?: string;
}

export interface MintDeps {
  clock: Clock;
  ids: Ids;
  issuer: string;
  ring: KeyRing;
  policies: Pick<PoliciesService, 'engine' | 'refresh'>;
  sources: TokenSources;
  decisions: UseDecisions;
  writer: Pick<Batcher<MintRow, boolean>, 'submit'>;
}

interface Draft {
  row: MintRow;
  signer: Signer;
  audience: string;
}

/**
 * Mints a token for an authenticated agent: its row and audit event are committed first, then it is signed with the
 * key that was recorded. Undefined: something that was looked up is out of date, and the caller looks again with
 * `fresh`. Throws `invalid-target`, `invalid-grant`, `invalid-scope`, `no-published-key`, `unavailable`.
 */
export async function mint(
  deps: MintDeps,
  asked: { client: AuthenticatedClient; request: TokenRequest; origin: Origin },
  { fresh }: { fresh: boolean },
): Promise<TokenResponse | undefined> {
  if (fresh) await Promise.all([deps.ring.refresh(), deps.policies.refresh()]);
  const draft = await drafted(deps, asked, { fresh });
  // The client ends within this second: an agent that has ended does not authenticate.
  if (draft.row.exp <= draft.row.iat) throw new BrokerError('invalid-client');
  const written = await deps.writer.submit(draft.row);
  return written ? sign(deps.issuer, draft) : undefined;
}

async function drafted(
  deps: MintDeps,
  { client, request, origin }: { client: AuthenticatedClient; request: TokenRequest; origin: Origin },
  { fresh }: { fresh: boolean },
): Promise<Draft> {
  if (request.kind === 'broker') return brokerDraft(deps, client, origin);
  const source = await deps.sources.find(client, request, { fresh });
  const signer = await signerFor(deps, source.alg);
  const now = deps.clock.now();
  // Before the policies are asked: if they change meanwhile, the row is refused for its epoch.
  const policyEpoch = deps.policies.engine.epoch ?? null;
  const use = { now, address: origin.address, authMethod: client.method };
  if (!deps.decisions.permits(source, use)) {
    if (fresh) throw new BrokerError('invalid-grant', { detail: 'policy does not permit this use now' });
    return drafted(deps, { client, request, origin }, await refreshed(deps));
  }
  const { grant, resource, selection } = source;
  const row = {
    ...commonRow(deps, { client, origin, now, scope: source.scope, signer }),
    exp: tokenExpiry(now, resource.tokenTtlSeconds, [grant.expiresAt, client.expiresAt]),
    grant_id: grant.id,
    grant_version: grant.version,
    selection,
    resource_id: resource.id,
    resource_epoch: resource.epoch,
    resource_version: resource.version,
    policy_epoch: policyEpoch === null ? null : String(policyEpoch),
  };
  return { row, signer, audience: resource.identifier };
}

async function refreshed(deps: MintDeps): Promise<{ fresh: true }> {
  await deps.policies.refresh();
  return { fresh: true };
}

async function brokerDraft(deps: MintDeps, client: AuthenticatedClient, origin: Origin): Promise<Draft> {
  const signer = await signerFor(deps, defaultSigningAlg);
  const now = deps.clock.now();
  const common = commonRow(deps, { client, origin, now, scope: brokerScope, signer });
  const none = { grant_id: null, grant_version: null, selection: null, policy_epoch: null };
  const noResource = { resource_id: null, resource_epoch: null, resource_version: null };
  return {
    row: { ...common, exp: tokenExpiry(now, brokerTokenSeconds, [client.expiresAt]), ...none, ...noResource },
    signer,
    audience: deps.issuer,
  };
}

/** The active key; if memory has none, another replica may have made one since. */
async function signerFor(deps: MintDeps, alg: SigningAlg): Promise<Signer> {
  if (deps.ring.signer(alg) === undefined) await deps.ring.refresh();
  const signer = deps.ring.signer(alg);
  if (signer === undefined) throw new BrokerError('no-published-key', { retryAfterSeconds: 1 });
  return signer;
}

function commonRow(
  { ids }: MintDeps,
  token: { client: AuthenticatedClient; origin: Origin; now: Date; scope: string; signer: Signer },
) {
  const { client, origin, now, scope, signer } = token;
  return {
    jti: ids.next('token'),
    iat: toEpochSeconds(now),
    agent_id: client.id,
    agent_epoch: client.epoch,
    secret_id: client.secretId,
    auth_method: client.method,
    scope,
    kid: signer.kid,
    event_id: ids.next('event'),
    request_id: origin.requestId,
    source_ip: origin.address,
  };
}

/** RFC 9068 section 2.2. */
function sign(issuer: string, { row, signer, audience }: Draft): TokenResponse {
  const grant = row.grant_id === null ? {} : { grant_id: row.grant_id };
  const token = signer.sign({
    iss: issuer,
    sub: row.agent_id,
    aud: audience,
    client_id: row.agent_id,
    iat: row.iat,
    exp: row.exp,
    jti: row.jti,
    scope: row.scope,
    ...grant,
  });
  return {
    access_token: token,
    token_type: 'Bearer',
    expires_in: row.exp - row.iat,
    scope: row.scope,
    ...grant,
  };
}
