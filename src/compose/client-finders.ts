import { isUsable } from '../agents/agent.ts';
import type { AgentsService } from '../agents/service.ts';
import type { Db } from '../db/database.ts';
import type { Keys } from '../oauth/clients/assertion-proof.ts';
import type { ClientRecord, Finders } from '../oauth/clients/client-records.ts';
import { type PublicKey, parseKeySet } from '../outbound/key-set.ts';
import type { KeySetPlace } from '../outbound/key-sets.ts';
import type { JwkSet } from '../outbound/key-source.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import type { ResourcesService } from '../resources/service.ts';
import type { TrustedIssuersService } from '../trusted-issuers/service.ts';

interface ClientServices {
  agents: AgentsService;
  resources: ResourcesService;
  trustedIssuers: TrustedIssuersService;
}

/** How clients are looked up; an agent that is disabled or expired is none. */
export function clientFinders(
  db: Db,
  clock: Clock,
  { agents, resources, trustedIssuers }: ClientServices,
): Finders {
  /** Parsed once: keys are never changed under the id of a proof. */
  const parsed = createBoundedCache<PublicKey[]>({ maxEntries: 1_000 });
  function toKeys(proofId: string, jwks: JwkSet | null | undefined, place: KeySetPlace): Keys {
    if (jwks === null || jwks === undefined) return place;
    const keys = parsed.get(proofId) ?? parseKeySet(jwks);
    parsed.set(proofId, keys);
    return { keys };
  }

  async function agent(id: string): Promise<ClientRecord | undefined> {
    const found = await agents.findClient(db, id, clock.now());
    if (found === undefined || !isUsable(found, clock.now())) return undefined;
    const { legacyAudience, keys: stored } = found;
    if (stored === undefined) return { ...found, keys: undefined };
    const keys = toKeys(stored.id, stored.jwks, { uri: stored.jwksUri ?? '' });
    return { ...found, keys: { id: stored.id, keys, legacyAudience } };
  }

  return {
    agent,
    resource: (id) => resources.findServer(db, id, clock.now()),
    async identified(issuer, subject) {
      const stored = await agents.findIdentity(db, { issuer, subject });
      if (stored === undefined) return undefined;
      const record = await agent(stored.agentId);
      if (record === undefined) return undefined;
      const { audience, claims, jwks, jwksUri } = stored.issuer;
      const keys = toKeys(stored.id, jwks, jwksUri === null ? { discovery: issuer } : { uri: jwksUri });
      const conditions = [claims, stored.claims];
      const identity = { id: stored.id, keys, issuer, subject, audience, conditions };
      return { clientId: stored.agentId, record, identity };
    },
    async subjectIssuer(issuer) {
      const found = await trustedIssuers.findByIssuer(db, issuer);
      if (found === undefined || !found.subjectTokens) return undefined;
      const { id, epoch, audience, claims: conditions, jwks, jwksUri } = found;
      const place = jwksUri === null ? { discovery: issuer } : { uri: jwksUri };
      return { id, epoch, audience, conditions, keys: toKeys(`${id} ${epoch}`, jwks, place) };
    },
  };
}
