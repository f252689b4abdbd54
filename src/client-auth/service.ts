import type { KeySets } from '../outbound/key-sets.ts';
import type { Clock } from '../platform/clock.ts';
import type { OneTimeValues } from '../replay/one-time-values.ts';
import { createAssertionVerifier, createUsedAssertions } from './assertions.ts';
import { type CheckToken, createTokenCheck, type TokenCheckDeps } from './check-token.ts';
import type { ClientFinders } from './client-records.ts';
import { type Clients, createClients } from './clients.ts';
import type { Dpop } from './dpop/dpop.ts';

/** Finds clients and consumes one-time values through one connection pool. */
export interface ClientAccess {
  findClient: ClientFinders & { issuerById: TokenCheckDeps['readIssuer'] };
  oneTimeValues: OneTimeValues;
}

export interface ClientAuthDeps {
  clock: Clock;
  issuer: string;
  /** The keys that clients and issuers publish. */
  keySets: KeySets;
  dpop: Dpop;
  /** The access through the pool of minting and introspection. */
  hot: ClientAccess;
  /** The access through the pool of revocation and refusals, which load on minting must not delay. */
  general: ClientAccess;
}

export interface ClientAuth {
  clients: Clients;
  /** Authenticates through the pool of revocation, so that it does not wait for minting. */
  clientsApart: Clients;
  checkToken: CheckToken;
}

/** Creates client authentication over both pools. Both know an assertion that was consumed through either. */
export function createClientAuth(deps: ClientAuthDeps): ClientAuth {
  const { clock, issuer, dpop, hot, general } = deps;
  const assertions = createAssertionVerifier(deps);
  const used = createUsedAssertions();
  const through = ({ findClient: find, oneTimeValues }: ClientAccess): Clients =>
    createClients({
      clock,
      issuer,
      dpop,
      find,
      assertions,
      usedAssertions: used.through(oneTimeValues),
    });
  const { findClient: find } = general;
  const checkToken = createTokenCheck({ ...deps, assertions, find, readIssuer: find.issuerById });
  return { clients: through(hot), clientsApart: through(general), checkToken };
}
