import type { RequestListener } from 'node:http';
import type { KeyAuthentication } from '../admins/authenticate.ts';
import { adminRoutes } from '../admins/routes.ts';
import { agentRoutes } from '../agents/routes.ts';
import { auditRoutes } from '../audit/routes.ts';
import type { StrangerCounts } from '../audit/strangers.ts';
import { grantRoutes, simulateRoute } from '../grants/routes.ts';
import { createApp } from '../http/app.ts';
import { type Contract, isRouted, readContract } from '../http/contract.ts';
import { createCursors } from '../http/cursor.ts';
import type { ExchangeListener } from '../http/edge.ts';
import { createLimits, type Limits } from '../http/limits.ts';
import type { Handlers } from '../http/operation.ts';
import type { LeanOperationId } from '../http/operation-id.ts';
import { keyRoutes } from '../keys/routes.ts';
import type { KeysService } from '../keys/service.ts';
import { signingAlgs } from '../oauth/clients/signed-jwt.ts';
import { ownMetadataUrl } from '../oauth/metadata/protected-resource.ts';
import { metadataRoutes } from '../oauth/metadata/routes.ts';
import { oauthListeners } from '../oauth/routes.ts';
import type { Metrics } from '../operation/metrics.ts';
import { checkReadiness } from '../operation/readiness.ts';
import { operationRoutes } from '../operation/routes.ts';
import { keepAnswer } from '../platform/keep-answer.ts';
import { policyRoutes } from '../policies/routes.ts';
import { resourceRoutes } from '../resources/routes.ts';
import { trustedIssuerRoutes } from '../trusted-issuers/routes.ts';
import { workerRoutes } from '../worker/routes.ts';
import { type Base, macFor, type Overrides, type Services } from './services.ts';

/** What strangers may ask for as often as they like, though the database has to answer it, is asked of it this seldom. */
const keepPublicMs = 1_000;

/** The JWK Set is kept: a compromised key is out of it at once on the replica that was told, within 1 s on the others. */
function sparingKeys({ clock }: Base, { keys }: Services): KeysService {
  const published = keepAnswer({ clock, keepMs: keepPublicMs, work: keys.jwks });
  return {
    ...keys,
    rotate: (act, request) => keys.rotate(act, request).finally(published.forget),
    jwks: published.read,
  };
}

/** Readiness is kept, but that the process ends is told at once. */
function sparingReadiness({ db, clock }: Base, { keys }: Services, isStopping: () => boolean) {
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
    ...resourceRoutes({ resources, cursors }),
    ...policyRoutes({ policies, cursors, simulate: simulateRoute({ grants, clock }) }),
    ...grantRoutes({ grants, cursors }),
    ...keyRoutes({ keys: sparingKeys(base, services) }),
    ...workerRoutes({ worker }),
    ...auditRoutes({ audit: auditService, cursors }),
    ...metadataRoutes({ issuer: config.issuer, resources }),
  };
}

/** Token endpoints by path, before Express. */
function leanPaths(
  base: Base,
  services: Services,
  { edge, contract, limits }: { edge: Edge; contract: Contract; limits: Limits },
): ReadonlyMap<string, ExchangeListener> {
  const { config, clock, log } = base;
  const { oauth } = services;
  const { issuer } = config;
  const dpopNonce = services.dpopNonces.current;
  const listeners = oauthListeners({ ...edge, clock, oauth, issuer, log, limits, dpopNonce });
  const entries = contract.operations.filter((entry) => !isRouted(entry));
  return new Map(entries.map(({ id, path }) => [path, listeners[id as keyof typeof listeners]]));
}

/** What the HTTP surface reports to, and how it knows callers. */
export interface Edge {
  metrics: Metrics;
  strangers: StrangerCounts;
  keyAuthentication: KeyAuthentication;
  isStopping: () => boolean;
  overrides: Overrides;
  countStranger: (address: string) => void;
  observe: (operation: LeanOperationId, outcome: string) => void;
}

/** The HTTP surface over the services. */
export function createListener(base: Base, services: Services, edge: Edge): RequestListener {
  const { clock, ids, log, config } = base;
  const { oauth, auditService } = services;
  const contract = readContract();
  const { overrides, keyAuthentication } = edge;
  const limits = createLimits({
    clock,
    perSecond: config.rateLimitPerSecond,
    onLimited(scope, address) {
      edge.metrics.rateLimited(scope);
      edge.countStranger(address);
    },
  });
  return createApp({
    clock,
    ids,
    log,
    trustedProxies: config.trustedProxies,
    begin: services.turns.beat,
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
      if (!token.startsWith('hpa_')) return oauth.authenticate(credential);
      return scheme === 'Bearer' ? keyAuthentication.authenticate(token) : undefined;
    },
    dpopNonce: services.dpopNonces.current,
    challenge: { algs: signingAlgs, resourceMetadata: ownMetadataUrl(config.issuer) },
    recordDenial: (denial) => auditService.recordDenial(denial),
    countStranger: edge.countStranger,
    validateResponses: overrides.validateResponses ?? false,
  });
}
