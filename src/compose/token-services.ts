import type { AgentsService } from '../agents/service.ts';
import type { Audit } from '../audit/audit.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import { createDpop } from '../client-auth/dpop/dpop.ts';
import type { DpopNonces } from '../client-auth/dpop/dpop-nonces.ts';
import { createClientAuth } from '../client-auth/service.ts';
import type { Database } from '../db/database.ts';
import { withPartitions } from '../db/partitions.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import type { KeysService } from '../keys/service.ts';
import { createEndpoints } from '../oauth/endpoints.ts';
import type { KeySets } from '../outbound/key-sets.ts';
import type { Turns } from '../platform/turns.ts';
import type { PoliciesService } from '../policies/service.ts';
import { createOneTimeValues } from '../replay/one-time-values.ts';
import type { RequestsService } from '../requests/service.ts';
import type { ResourcesService } from '../resources/service.ts';
import { createTokensService } from '../tokens/service.ts';
import type { TrustedIssuersService } from '../trusted-issuers/service.ts';
import type { Base } from './base.ts';
import { clientFinders } from './client-finders.ts';

/** The services of the lower layers that client authentication, tokens and their endpoints use. */
interface LowerServices {
  audit: Audit;
  turns: Turns;
  dpopNonces: DpopNonces;
  keys: KeysService;
  keySets: KeySets;
  policies: PoliciesService;
  details: DetailsRules;
  grants: RequestsService;
  grantEndings: GrantEndings;
  agents: AgentsService;
  resources: ResourcesService;
  trustedIssuers: TrustedIssuersService;
}

/** Creates client access through both pools: under load on minting, revocation still gets a connection. */
function createClientAccess({ config, clock, hot, database }: Base, lower: LowerServices) {
  const through = (pool: Database) => ({
    findClient: clientFinders(pool.db, clock, lower),
    oneTimeValues: createOneTimeValues({
      hot: { ...pool, prepared: config.preparedStatements },
      turns: lower.turns,
      withPartitions: (work) => withPartitions(pool.db, clock, work),
    }),
  });
  return { hot: through(hot), general: through(database) };
}

/** Wires client authentication, then tokens, then the token endpoint. */
export function createTokenServices(base: Base, lower: LowerServices) {
  const { config, clock, ids, hot, db } = base;
  const { audit, turns, keySets, policies, details, grants, grantEndings, resources } = lower;
  const { issuer } = config;
  const access = createClientAccess(base, lower);
  const dpop = createDpop({
    clock,
    issuer,
    nonces: lower.dpopNonces,
    requireNonce: config.dpopNonce === 'required',
    oneTimeValues: access.hot.oneTimeValues,
  });
  const clientAuth = createClientAuth({ clock, issuer, keySets, dpop, ...access });
  const common = { db, audit, clock, issuer, dpop, details, grants };
  const tokens = createTokensService({
    ...common,
    hot: { ...hot, prepared: config.preparedStatements },
    grantEndings,
    turns,
    ids,
    ring: lower.keys.ring,
    policies,
    withPartitions: (work) => withPartitions(hot.db, clock, work),
  });
  const endpoints = createEndpoints({
    ...common,
    ...clientAuth,
    tokens,
    keySets,
    resources,
    findSubjectIssuers: access.general.findClient.subjectIssuers,
  });
  return { tokens, endpoints, checkToken: clientAuth.checkToken };
}
