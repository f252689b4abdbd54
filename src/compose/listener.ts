import type { RequestListener } from 'node:http';
import type { KeyAuthentication } from '../admins/authenticate.ts';
import { adminRoutes } from '../admins/routes.ts';
import { agentRoutes } from '../agents/routes.ts';
import { auditRoutes } from '../audit/routes.ts';
import type { StrangerCounts } from '../audit/strangers.ts';
import { createMac } from '../crypto/mac.ts';
import { grantRoutes, simulateRoute } from '../grants/routes.ts';
import { createApp } from '../http/app.ts';
import { type Contract, isRouted, readContract } from '../http/contract.ts';
import { createCursors } from '../http/cursor.ts';
import type { ExchangeListener } from '../http/edge.ts';
import type { Handlers } from '../http/operation.ts';
import type { LeanOperationId } from '../http/operation-id.ts';
import { keyRoutes } from '../keys/routes.ts';
import { metadataRoutes, oauthListeners } from '../oauth/routes.ts';
import type { Metrics } from '../operation/metrics.ts';
import { checkReadiness } from '../operation/readiness.ts';
import { operationRoutes } from '../operation/routes.ts';
import { policyRoutes } from '../policies/routes.ts';
import { resourceRoutes } from '../resources/routes.ts';
import { workerRoutes } from '../worker/routes.ts';
import type { Base, Overrides, Services } from './services.ts';

function createHandlers(
  base: Base,
  services: Services,
  { contract, isStopping }: { contract: object; isStopping: () => boolean },
): Handlers {
  const { config, clock, db } = base;
  const { admins, agents, resources, policies, grants, keys, worker, auditService } = services;
  const cursors = createCursors(createMac(config.masterKey.derive('cursor')));
  const readiness = () => checkReadiness({ db, clock, hasActiveKey: keys.hasActiveKey, isStopping });
  return {
    ...operationRoutes({ contract, readiness }),
    ...adminRoutes({ admins, cursors }),
    ...agentRoutes({ agents, cursors }),
    ...resourceRoutes({ resources, cursors }),
    ...policyRoutes({ policies, cursors, simulate: simulateRoute({ grants, clock }) }),
    ...grantRoutes({ grants, cursors }),
    ...keyRoutes({ keys }),
    ...workerRoutes({ worker }),
    ...auditRoutes({ audit: auditService, cursors }),
    ...metadataRoutes(config.issuer),
  };
}

/** Token endpoints by path, before Express. */
function leanPaths(
  base: Base,
  services: Services,
  { edge, contract }: { edge: Edge; contract: Contract },
): ReadonlyMap<string, ExchangeListener> {
  const { config, log } = base;
  const listeners = oauthListeners({ ...edge, oauth: services.oauth, issuer: config.issuer, log });
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
  return createApp({
    clock,
    ids,
    log,
    trustedProxies: config.trustedProxies,
    observe({ operation }, status, durationMs) {
      edge.metrics.request(operation, status, durationMs);
      overrides.observe?.(operation, status);
    },
    contract,
    handlers: createHandlers(base, services, { contract: contract.document, isStopping: edge.isStopping }),
    lean: leanPaths(base, services, { edge, contract }),
    authenticate: (credential) =>
      credential.startsWith('hpa_')
        ? keyAuthentication.authenticate(credential)
        : oauth.authenticate(credential),
    recordDenial: (denial) => auditService.recordDenial(denial),
    countStranger: edge.countStranger,
    validateResponses: overrides.validateResponses ?? false,
  });
}
