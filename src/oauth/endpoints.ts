import type { Audit } from '../audit/audit.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import type { Dpop } from '../client-auth/dpop/dpop.ts';
import type { ClientAuth } from '../client-auth/service.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { Limits } from '../http/limits.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import type { Clock } from '../platform/clock.ts';
import { createKeyedQueue, type KeyedQueue } from '../platform/keyed-queue.ts';
import type { RequestsService } from '../requests/service.ts';
import type { ResourcesService } from '../resources/service.ts';
import type { TokensService } from '../tokens/service.ts';
import type { OnDemandDeps } from './on-demand.ts';
import type { ExchangeDeps } from './token-exchange/exchange.ts';
import { createKnownExchanges } from './token-exchange/known-exchanges.ts';
import { createSubjectTokens, type FindSubjectIssuers } from './token-exchange/subject-token.ts';

export interface EndpointsDeps extends ClientAuth {
  db: Db;
  audit: Audit;
  clock: Clock;
  issuer: string;
  dpop: Dpop;
  tokens: TokensService;
  /** The keys that issuers publish. */
  keySets: KeySets;
  findSubjectIssuers: FindSubjectIssuers;
  details: DetailsRules;
  grants: Pick<RequestsService, 'delegate' | 'demand'>;
  resources: Pick<ResourcesService, 'findByIdentifier'>;
}

/** The dependencies of the checks of the token, introspection and revocation endpoints. */
export interface Endpoints extends ClientAuth {
  db: Db;
  audit: Audit;
  clock: Clock;
  issuer: string;
  dpop: Dpop;
  tokens: TokensService;
  exchange: ExchangeDeps;
  /** Limits how many exchanges run at a time. */
  exchanging: Pick<KeyedQueue, 'enter'>;
  onDemand: OnDemandDeps;
}

/** The dependencies of the endpoints of one listener, with its rate limits. */
export type LimitedEndpoints = Endpoints & { limits: Limits };

/** How many exchanges may run at a time, in all and of one client: each takes some twenty look-ups. */
const maxExchanges = { atOnce: 128, atOnceOfOne: 64 };

export function createEndpoints(deps: EndpointsDeps): Endpoints {
  const { clock, issuer, db, keySets, grants, resources, findSubjectIssuers: findIssuers, tokens } = deps;
  const full = new BrokerError('overloaded', { retryAfterSeconds: 1 });
  return {
    ...deps,
    exchange: {
      clock,
      issuer,
      findActive: tokens.findActive,
      subjects: createSubjectTokens({ clock, ownIssuer: issuer, keySets, findIssuers }),
      delegate: grants.delegate,
      known: createKnownExchanges({ clock }),
      details: deps.details,
      findResource: (identifier) => resources.findByIdentifier(db, identifier),
    },
    exchanging: createKeyedQueue({ ...maxExchanges, full }),
    onDemand: grants,
  };
}
