import type { RequestListener } from 'node:http';
import type { KeyAuthentication } from '../admins/authenticate.ts';
import { adminRoutes } from '../admins/routes.ts';
import { agentRoutes } from '../agents/routes.ts';
import { auditRoutes } from '../audit/routes.ts';
import type { StrangerCounts } from '../audit/strangers.ts';
import { callRoutes } from '../calls/routes.ts';
import { checkTokenRoute } from '../client-auth/check-token-route.ts';
import { signingAlgs } from '../client-auth/signed-jwt.ts';
import type { RefusedWorkloadToken } from '../errors.ts';
import { createApp } from '../http/app.ts';
import { compileContract } from '../http/compiled-contract.ts';
import type { Contract } from '../http/contract.ts';
import { createCursors } from '../http/cursor.ts';
import type { ExchangeListener } from '../http/edge.ts';
import { createLimits, type Limits } from '../http/limits.ts';
import type { Handlers } from '../http/operation.ts';
import type { LeanOperationId } from '../http/operation-id.ts';
import { keyRoutes } from '../keys/routes.ts';
import type { KeysService } from '../keys/service.ts';
import { leaseRoutes } from '../leases/routes.ts';
import { ownMetadataUrl } from '../oauth/metadata/protected-resource.ts';
import { metadataRoutes } from '../oauth/metadata/routes.ts';
import { oauthListeners } from '../oauth/routes.ts';
import type { Metrics } from '../operation/metrics.ts';
import { checkReadiness } from '../operation/readiness.ts';
import { operationRoutes } from '../operation/routes.ts';
import { keepAnswer } from '../platform/keep-answer.ts';
import { policyRoutes } from '../policies/routes.ts';
import { grantRoutes, simulateRoute } from '../requests/routes.ts';
import { resourceRoutes } from '../resources/routes.ts';
import { targetRoutes } from '../resources/target-routes.ts';
import { upstreamRoutes } from '../resources/upstreams/routes.ts';
import { trustedIssuerRoutes } from '../trusted-issuers/routes.ts';
import { workerRoutes } from '../worker/routes.ts';
import type { Base, Overrides } from './base.ts';
import { macFor, type Services } from './services.ts';

/** How long responses to unauthenticated requests that are not rate limited but need the database are cached. */
const keepPublicMs = 1_000;

/** Caches the JWK Set: a compromised key leaves it at once on the replica that was called, elsewhere within 1 s. */
function sparingKeys({ clock }: Base, { keys }: Services): KeysService {
  const published = keepAnswer({ clock, keepMs: keepPublicMs, work: keys.jwks });
  return {
    ...keys,
    rotate: (act, request) => keys.rotate(act, request).finally(published.forget),
    jwks: published.read,
  };
}

/** Caches readiness, but reports a shutdown at once. */
export function sparingReadiness({ db, clock }: Base, { keys }: Services, isStopping: () => boolean) {
  const check = () => checkReadiness({ db, clock, readKeys: keys.status, isStopping });
  const kept = keepAnswer({ clock, keepMs: keepPublicMs, work: check });
  return () => (isStopping() ? check() : kept.read());
}

function createHandlers(
  base: Base,
  services: Services,
  { contract, isStopping }: { contract: object; isStopping: () => boolean },
): Handlers {
  const { config, clock } = base;
  const { admins, agents, trustedIssuers, resources, policies, grants, worker, auditService } = services;
  const cursors = createCursors(macFor(config, 'cursor'));
  const readiness = sparingReadiness(base, services, isStopping);
  return {
    ...operationRoutes({ contract, readiness }),
    ...adminRoutes({ admins, cursors }),
    ...agentRoutes({ agents, cursors }),
    ...trustedIssuerRoutes({ trustedIssuers, cursors }),
    ...checkTokenRoute(services.checkToken),
    ...resourceRoutes({ resources, cursors, gatewayUrl: config.gatewayUrl }),
    ...upstreamRoutes(services),
    ...targetRoutes(services),
    ...policyRoutes({ policies, cursors, simulate: simulateRoute({ grants, clock }) }),
    ...grantRoutes({ grants, cursors }),
    ...leaseRoutes({ leases: services.leases, cursors }),
    ...callRoutes({ calls: services.calls, cursors }),
    ...keyRoutes({ keys: sparingKeys(base, services) }),
    ...workerRoutes({ worker }),
    ...auditRoutes({ audit: auditService, cursors }),
    ...metadataRoutes({ issuer: config.issuer, resources }),
  };
}

/** Returns the listeners of the token endpoints by path; they run before Express. */
function leanPaths(
  base: Base,
  services: Services,
  { edge, contract, limits }: { edge: Edge; contract: Contract; limits: Limits },
): ReadonlyMap<string, ExchangeListener> {
  const { log } = base;
  const endpoints = { ...services.endpoints, limits };
  const listeners = oauthListeners({ ...edge, endpoints, log, dpopNonce: services.dpopNonces.current });
  const paths = new Map<string, ExchangeListener>();
  for (const { id, path } of contract.operations) {
    const listener = listeners.get(id);
    if (listener !== undefined) paths.set(path, listener);
  }
  return paths;
}

/** The metrics, the counters and the key authentication of the HTTP surface. */
export interface Edge {
  metrics: Metrics;
  strangers: StrangerCounts;
  keyAuthentication: KeyAuthentication;
  isStopping: () => boolean;
  overrides: Overrides;
  countStranger: (address: string, token?: RefusedWorkloadToken) => void;
  observe: (operation: LeanOperationId, outcome: string) => void;
}

/** Creates the rate limits of one listener, whose refusals are counted. */
export function createLimitsOf({ clock, config }: Base, edge: Edge): Limits {
  return createLimits({
    clock,
    perSecond: config.rateLimitPerSecond,
    onLimited(scope, address) {
      edge.metrics.rateLimited(scope);
      edge.countStranger(address);
    },
  });
}

/** Creates the HTTP surface over the services. */
export function createListener(base: Base, services: Services, edge: Edge): RequestListener {
  const { clock, ids, log, config } = base;
  const { tokens, auditService } = services;
  const { overrides, keyAuthentication } = edge;
  const { contract = compileContract() } = overrides;
  const limits = createLimitsOf(base, edge);
  return createApp({
    clock,
    ids,
    log,
    trustedProxies: config.trustedProxies,
    begin: services.turns.flushIfLate,
    observe({ operation }, status, durationMs) {
      edge.metrics.request(operation, status, durationMs);
      overrides.observe?.(operation, status);
    },
    contract,
    handlers: createHandlers(base, services, { contract: contract.document, isStopping: edge.isStopping }),
    lean: leanPaths(base, services, { edge, contract, limits }),
    limits,
    authenticate: async (credential) => {
      const { scheme, token } = credential;
      if (!token.startsWith('hpa_')) return tokens.authenticate(credential);
      return scheme === 'Bearer' ? keyAuthentication.authenticate(token) : undefined;
    },
    dpopNonce: services.dpopNonces.current,
    challenge: { algs: signingAlgs, resourceMetadata: ownMetadataUrl(config.issuer) },
    recordDenial: (denial) => auditService.recordDenial(denial),
    countStranger: edge.countStranger,
  });
}
