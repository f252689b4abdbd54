import { sha256 } from '../crypto/hash.ts';
import { longestTokenSeconds } from '../keys/signing-key.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { ClientKeys } from './assertion-proof.ts';

export interface SecretDigest {
  id: string;
  hash: Buffer;
  expiresAt: Date | null;
}

/** A client as its owner's feature knows it; undefined where there is none of this id that may authenticate. */
export interface ClientRecord {
  epoch: number;
  /** When the client itself ends: no token of it may live longer. */
  expiresAt?: Date | null;
  secrets: SecretDigest[];
  /** Instead of secrets. */
  keys?: ClientKeys | undefined;
  legacyAudience?: boolean;
}

export type ClientKind = 'agent' | 'resource';
/** How a client is looked up, by its kind. */
export type ClientFinders = Record<ClientKind, (clientId: string) => Promise<ClientRecord | undefined>>;

/** A change of how an agent with keys proves itself is in force everywhere after this. */
const keepKeysMs = 1_000;
const kindOfPrefix: Record<string, ClientKind> = { agt_: 'agent', res_: 'resource' };

export function kindOf(clientId: string): ClientKind | undefined {
  return kindOfPrefix[clientId.slice(0, 4)];
}

/** What is known of a client that is not there, or no client: to refuse it costs what a wrong secret costs. */
export const nobody: ClientRecord = { epoch: 0, secrets: [{ id: '', hash: sha256(''), expiresAt: null }] };

export interface ClientRecords {
  /** Reads the database: `nobody` if there is no such client. */
  read(clientId: string): Promise<ClientRecord>;
  /**
   * What memory says of a client; nothing of one that ends soon, because its end, as it is now, caps what it gets, nor for
   * long of one with keys, because no statement checks again what its assertions may say.
   */
  recall(clientId: string): ClientRecord | undefined;
}

export function createClientRecords({ clock, find }: { clock: Clock; find: ClientFinders }): ClientRecords {
  const known = createBoundedCache<{ record: ClientRecord; readAt: Date }>();
  return {
    async read(clientId) {
      const kind = kindOf(clientId);
      const record = await find[kind ?? 'agent'](clientId);
      if (kind === undefined || record === undefined) return nobody;
      known.set(clientId, { record, readAt: clock.now() });
      return record;
    },
    recall(clientId) {
      const { record, readAt } = known.get(clientId) ?? {};
      if (record === undefined || readAt === undefined) return undefined;
      const now = clock.now();
      const { expiresAt = null, keys } = record;
      if (expiresAt !== null && expiresAt <= addSeconds(now, longestTokenSeconds)) return undefined;
      const ageMs = now.getTime() - readAt.getTime();
      return keys === undefined || (ageMs >= 0 && ageMs < keepKeysMs) ? record : undefined;
    },
  };
}
