import { isUsable } from '../agents/agent.ts';
import { maxCandidates } from '../agents/credentials/find-identities.ts';
import type { AgentsService } from '../agents/service.ts';
import type { IdentityFinder } from '../client-auth/assertions.ts';
import type { ClientFinders, ClientRecord } from '../client-auth/client-records.ts';
import type { Keys, KnownIssuer } from '../client-auth/trusted-token.ts';
import type { Db } from '../db/database.ts';
import { BrokerError } from '../errors.ts';
import type { FindSubjectIssuers } from '../oauth/token-exchange/subject-token.ts';
import { type PublicKey, parseKeySet } from '../outbound/key-set.ts';
import type { KeySetPlace } from '../outbound/key-sets.ts';
import type { JwkSet } from '../outbound/key-source.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import type { ResourcesService } from '../resources/service.ts';
import { toIdentifyingClaims } from '../trusted-issuers/identity.ts';
import type { TrustedIssuersService } from '../trusted-issuers/service.ts';
import type { VersionedIssuer } from '../trusted-issuers/trusted-issuer.ts';

/** Finds clients, trusted issuers and subject token issuers. */
export interface Finders extends ClientFinders {
  subjectIssuers: FindSubjectIssuers;
  /** Finds a trusted issuer by its id. Throws `not-found`. */
  issuerById: (id: string) => Promise<KnownIssuer>;
}

interface ClientServices {
  agents: AgentsService;
  resources: ResourcesService;
  trustedIssuers: TrustedIssuersService;
}

/** Creates the look-ups of clients. They do not find an agent that is disabled or expired. */
export function clientFinders(
  db: Db,
  clock: Clock,
  { agents, resources, trustedIssuers }: ClientServices,
): Finders {
  const toKeys = createKeyParser();

  async function agent(id: string): Promise<ClientRecord | undefined> {
    const found = await agents.findClient(db, id, clock.now());
    if (found === undefined || !isUsable(found, clock.now())) return undefined;
    const { legacyAudience, keys: stored } = found;
    const credentials = stored?.map(({ id: credentialId, jwks, jwksUri = '' }) => ({
      id: credentialId,
      keys: toKeys(jwks, { uri: jwksUri }),
    }));
    return { ...found, keys: credentials === undefined ? undefined : { credentials, legacyAudience } };
  }

  const toKnown = (stored: VersionedIssuer): KnownIssuer => {
    const { id, issuer, audience, claims: conditions, tenantClaims, rowVersion } = stored;
    const place = stored.jwksUri === null ? { discovery: issuer } : { uri: stored.jwksUri };
    return { id, issuer, audience, conditions, tenantClaims, rowVersion, keys: toKeys(stored.jwks, place) };
  };

  return {
    agent,
    resource: (id) => resources.findServer(db, id, clock.now()),
    identities: identityFinder(db, agents),
    async issuersNamed(issuer) {
      const stored = await trustedIssuers.findByIssuer(db, issuer);
      if (stored.length === 0) return undefined;
      return { issuers: stored.map(toKnown), version: stored.map((each) => each.rowVersion).join() };
    },
    async issuerById(id) {
      const { issuer } = await trustedIssuers.get(id);
      const stored = (await trustedIssuers.findByIssuer(db, issuer)).find((each) => each.id === id);
      if (stored === undefined) throw new BrokerError('not-found');
      return toKnown(stored);
    },
    async subjectIssuers(issuer) {
      const found = await trustedIssuers.findByIssuer(db, issuer);
      return found
        .filter(({ subjectTokens }) => subjectTokens)
        .map((stored) => ({ ...toKnown(stored), epoch: stored.epoch }));
    },
  };
}

function identityFinder(db: Db, agents: AgentsService): IdentityFinder {
  return {
    async candidates({ id: trustedIssuerId, rowVersion, tenantClaims }, claims) {
      const identifyingClaims = toIdentifyingClaims(claims, tenantClaims);
      const query = { trustedIssuerId, rowVersion, identifyingClaims, claims };
      const identities = await agents.findIdentities(db, query);
      return { identities, isWhole: identities.length <= maxCandidates };
    },
    explaining({ id: trustedIssuerId, tenantClaims }, claims) {
      const identifyingClaims = toIdentifyingClaims(claims, tenantClaims);
      return agents.listIdentities(db, { trustedIssuerId, identifyingClaims });
    },
  };
}

/**
 * Creates the parser of registered keys, which parses equal sets only once. For an issuer without a stored set it
 * returns the location of its keys.
 */
function createKeyParser() {
  const parsed = createBoundedCache<PublicKey[]>({ maxEntries: 1_000 });
  return (jwks: JwkSet | null | undefined, place: KeySetPlace): Keys => {
    if (jwks === null || jwks === undefined) return place;
    const text = JSON.stringify(jwks);
    const keys = parsed.get(text) ?? parseKeySet(jwks);
    parsed.set(text, keys);
    return { keys };
  };
}
