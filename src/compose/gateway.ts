import type { RequestListener } from 'node:http';
import { createDpop } from '../client-auth/dpop/dpop.ts';
import { signingAlgs } from '../client-auth/signed-jwt.ts';
import { withPartitions } from '../db/partitions.ts';
import { statementBatches } from '../db/statement-batches.ts';
import { createGateway } from '../gateway/listener.ts';
import { OpenCalls } from '../gateway/open-calls.ts';
import { Batcher } from '../platform/batcher.ts';
import { createOneTimeValues } from '../replay/one-time-values.ts';
import type { FoundUpstream } from '../resources/upstreams/service.ts';
import type { Base } from './base.ts';
import { createLimitsOf, type Edge, sparingReadiness } from './listener.ts';
import type { Services } from './services.ts';

export interface Gateway {
  listener: RequestListener;
  openCalls: OpenCalls;
}

/** Creates the gateway, whose listener has an origin of its own. Undefined if the configuration names none. */
export function createGatewayOf(base: Base, services: Services, edge: Edge): Gateway | undefined {
  const { clock, ids, log, config, hot, upstreamClient } = base;
  const url = config.gatewayUrl;
  if (url === undefined) return undefined;
  const { tokens, calls, dpopNonces } = services;
  const readiness = sparingReadiness(base, services, edge.isStopping);
  const openCalls = new OpenCalls({
    clock,
    mayGoOn: tokens.mayGoOn,
    onError: (error) =>
      log.warn('reading whether open calls may go on failed; it is retried', { err: error }),
  });
  const limits = createLimitsOf(base, edge);
  const dpop = createDpop({
    clock,
    issuer: url,
    nonces: dpopNonces,
    requireNonce: config.dpopNonce === 'required',
    oneTimeValues: createOneTimeValues({
      hot: { ...hot, prepared: config.preparedStatements },
      turns: services.turns,
      withPartitions: (work) => withPartitions(hot.db, clock, work),
    }),
  });
  const found = batchLookUps(base, services);
  const listener = createGateway({
    ...{ clock, ids, log, url, limits, calls, openCalls, dpop },
    trustedProxies: config.trustedProxies,
    observe: ({ operation }, status, durationMs) => edge.metrics.request(operation, status, durationMs),
    findActive: tokens.findActive,
    mayGoOn: tokens.mayGoOn,
    findUpstream: (slug) => found.submit(slug),
    upstreams: upstreamClient,
    dpopNonce: dpopNonces.current,
    challenge: { algs: signingAlgs },
    isReady: async () => (await readiness()).ready,
    countStranger: (address) => edge.countStranger(address),
    countCall: (outcome) => edge.metrics.call(outcome),
  });
  return { listener, openCalls };
}

/** Batches the look-ups of upstreams: calls of one turn to the same upstream share one. */
function batchLookUps({ gateway, clock }: Base, { upstreams, turns }: Services) {
  return new Batcher<string, FoundUpstream | undefined>({
    ...statementBatches,
    turns,
    maxInFlight: 4,
    async run(slugs) {
      const now = clock.now();
      const found = new Map<string, FoundUpstream | undefined>();
      for (const slug of new Set(slugs)) found.set(slug, await upstreams.find(gateway.db, slug, now));
      return slugs.map((slug) => found.get(slug));
    },
  });
}
