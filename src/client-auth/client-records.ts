import { sha256 } from '../crypto/hash.ts';
import { longestTokenSeconds } from '../keys/signing-key.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { ClientKeys, IdentityFinder } from './assertions.ts';
import type { KnownIssuer } from './trusted-token.ts';

export interface SecretDigest {
  id: string;
  hash: Buffer;
  expiresAt: Date | null;
}

/** A client that may authenticate, as read from agents or resources. */
export interface ClientRecord {
  epoch: number;
  /** When the client expires. Its tokens expire no later. */
  expiresAt?: Date | null;
  secrets: SecretDigest[];
  /** Whether its tokens must be bound to a key. */
  requireBoundTokens?: boolean;
  /** Whether its token requests may request grants. */
  grantsOnDemand?: boolean;
  /** The keys of a client without secrets. */
  keys?: ClientKeys | undefined;
}

export type ClientKind = 'agent' | 'resource';

/** The trusted issuers that have the same `iss`. */
export interface NamedIssuers {
  issuers: readonly KnownIssuer[];
  /** A text of everything on which verification depends: with equal versions, a token has the same result. */
  version: string;
}

/**
 * Finds clients by kind and id, and the trusted issuers of platform tokens. Returns undefined for a client that may
 * not authenticate.
 */
export interface ClientFinders
  extends Record<ClientKind, (clientId: string) => Promise<ClientRecord | undefined>> {
  /** Finds the trusted issuers with this `iss`; undefined if no issuer has it. */
  issuersNamed(issuer: string): Promise<NamedIssuers | undefined>;
  identities: IdentityFinder;
}

/** How long the keys and identities of clients are cached: a change is in force on every replica after this. */
const keepKeysMs = 1_000;
const kindOfPrefix: Record<string, ClientKind> = { agt_: 'agent', res_: 'resource' };

export function kindOf(clientId: string): ClientKind | undefined {
  return kindOfPrefix[clientId.slice(0, 4)];
}

/** Replaces a client that does not exist, so that its refusal costs as much as a wrong secret. */
export const nobody: ClientRecord = { epoch: 0, secrets: [{ id: '', hash: sha256(''), expiresAt: null }] };

/** Reads a value from the database, or recalls it from memory. */
export interface Remembered<Value> {
  read(): Promise<Value | undefined>;
  recall(): Value | undefined;
}

export interface ClientRecords {
  /**
   * Reads or recalls a client by its id. A record is recalled only while the client outlives every token issued now,
   * because its expiry limits theirs; and for `keepKeysMs` if it has keys, because no statement checks these again.
   */
  ofClient(clientId: string): Remembered<ClientRecord>;
  /** Reads or recalls the trusted issuers with this `iss`, for `keepKeysMs`. */
  issuersNamed(issuer: string): Remembered<NamedIssuers>;
  identities: IdentityFinder;
}

export function createClientRecords({ clock, find }: { clock: Clock; find: ClientFinders }): ClientRecords {
  const isLasting = ({ expiresAt = null }: ClientRecord): boolean =>
    expiresAt === null || expiresAt > addSeconds(clock.now(), longestTokenSeconds);

  function remember<Value>(isCurrent: (value: Value, ageMs: number) => boolean) {
    const known = createBoundedCache<{ value: Value; readAt: number }>();
    return (key: string, look: () => Promise<Value | undefined>): Remembered<Value> => ({
      async read() {
        const value = await look();
        if (value !== undefined) known.set(key, { value, readAt: clock.now().getTime() });
        return value;
      },
      recall() {
        const entry = known.get(key);
        if (entry === undefined) return undefined;
        const ageMs = clock.now().getTime() - entry.readAt;
        return isCurrent(entry.value, ageMs) ? entry.value : undefined;
      },
    });
  }

  const isFresh = (ageMs: number): boolean => ageMs >= 0 && ageMs < keepKeysMs;
  const clients = remember<ClientRecord>(
    (record, ageMs) => isLasting(record) && (record.keys === undefined || isFresh(ageMs)),
  );
  const issuers = remember<NamedIssuers>((_, ageMs) => isFresh(ageMs));
  return {
    ofClient: (clientId) => {
      const kind = kindOf(clientId);
      // An unknown client costs the same look-up as a known one.
      return clients(clientId, async () => {
        const record = await find[kind ?? 'agent'](clientId);
        return kind === undefined ? undefined : record;
      });
    },
    issuersNamed: (issuer) => issuers(issuer, () => find.issuersNamed(issuer)),
    identities: find.identities,
  };
}
