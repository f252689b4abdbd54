import type { IncomingMessage } from 'node:http';
import type { Dpop } from '../client-auth/dpop/dpop.ts';
import { readDpopRequest } from '../client-auth/dpop/dpop-request.ts';
import { BrokerError } from '../errors.ts';
import { matchesRoute } from '../resources/upstreams/route-pattern.ts';
import type { FoundUpstream } from '../resources/upstreams/service.ts';
import type { ActiveToken } from '../tokens/active-token.ts';
import { assertHolder } from '../tokens/assert-holder.ts';
import { readCallCredential, repeatsToken } from './call-credential.ts';
import type { CallTarget } from './call-target.ts';

export interface AuthorizeDeps {
  findActive: (text: string) => Promise<ActiveToken | undefined>;
  findUpstream: (slug: string) => Promise<FoundUpstream | undefined>;
  /** Checks proofs for URLs of the gateway. */
  dpop: Dpop;
}

/** A call that the gateway may forward. */
export interface AuthorizedCall {
  token: ActiveToken;
  upstream: FoundUpstream;
  /** The scope whose route permits the call. */
  scope: string;
}

/**
 * Decides whether a call may be forwarded, from the current state of its token as introspection reads it. Throws
 * `unauthenticated` (also for a token for another resource), `invalid-request` (several credentials, or a second copy of the token) and `route-not-allowed`.
 */
export async function authorizeCall(
  deps: AuthorizeDeps,
  request: IncomingMessage,
  target: CallTarget,
): Promise<AuthorizedCall> {
  const token = await authenticate(deps, request, target);
  const upstream = await deps.findUpstream(target.slug);
  // An unknown slug gets the same response, so that an agent cannot find out which slugs exist.
  if (upstream === undefined || upstream.resourceId !== token.resourceId)
    throw new BrokerError('unauthenticated', { detail: 'the access token is not for this resource' });
  const granted = token.claims.scope.split(' ');
  const { method = '' } = request;
  const { segments } = target;
  const scope = upstream.scopes.find(
    ({ name, routes }) =>
      granted.includes(name) && routes.some((route) => matchesRoute(route, { method, segments })),
  );
  if (scope === undefined)
    throw new BrokerError('route-not-allowed', { detail: describe(upstream, method, target) });
  return { token, upstream, scope: scope.name };
}

/** Names the scopes that would permit the call, so that the agent knows what to request. */
function describe({ scopes }: FoundUpstream, method: string, { segments }: CallTarget): string {
  const names = scopes
    .filter(({ routes }) => routes.some((route) => matchesRoute(route, { method, segments })))
    .map(({ name }) => name);
  return names.length === 0
    ? 'no scope of the resource has a route for this method and path'
    : `request a grant with one of the scopes: ${names.join(' ')}`;
}

async function authenticate(
  { findActive, dpop }: AuthorizeDeps,
  request: IncomingMessage,
  { path, query }: CallTarget,
): Promise<ActiveToken> {
  const credential = readCallCredential(request.rawHeaders);
  if (!credential.ok) {
    if (credential.reason === 'several')
      throw new BrokerError('invalid-request', { detail: 'the request has more than one credential' });
    throw new BrokerError('unauthenticated');
  }
  const { scheme, token: text } = credential;
  const token = await findActive(text);
  const jkt = token?.claims.cnf?.jkt;
  // A bound token requires the DPoP scheme, and an unbound one must not use it (RFC 9449 section 7.2).
  if (token === undefined || (jkt !== undefined) !== (scheme === 'DPoP'))
    throw new BrokerError('unauthenticated');
  const proof = { dpop: readDpopRequest(request), token: text, holder: token.agentId };
  if (jkt !== undefined) await assertHolder(dpop.prove, { ...proof, jkt });
  if (repeatsToken(text, { rawHeaders: request.rawHeaders, url: path + query }))
    throw new BrokerError('invalid-request', {
      detail: 'the token is in the URL or in a second header, which the upstream would get',
    });
  return token;
}
