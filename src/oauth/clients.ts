import { equalDigests, hashSecret, sha256 } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import { longestTokenSeconds } from '../keys/signing-key.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import { addSeconds, type Clock } from '../platform/clock.ts';
import type { ClientCredentials } from './client-credentials.ts';

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
}

/** A client that has proved itself. */
export interface AuthenticatedClient {
  kind: 'agent' | 'resource';
  id: string;
  epoch: number;
  expiresAt: Date | null;
  secretId: string;
  method: ClientCredentials['method'];
}

export interface Clients {
  /**
   * The client of these credentials. From memory where that suffices: whoever relies on it has epoch and secret checked
   * in the statement that follows. `fresh` reads the database whatever is in memory. Throws `invalid-client`, alike for
   * an unknown client, a wrong secret, and a client that is disabled, expired or deleted. No promise where memory has the
   * answer: this is the hot path.
   */
  authenticate(
    credentials: ClientCredentials,
    options?: { fresh?: boolean },
  ): AuthenticatedClient | Promise<AuthenticatedClient>;
}

type Kind = AuthenticatedClient['kind'];
/** How a client is looked up, by its kind. */
export type ClientFinders = Record<Kind, (clientId: string) => Promise<ClientRecord | undefined>>;

const kindOfPrefix: Record<string, Kind> = { agt_: 'agent', res_: 'resource' };
const nobody: ClientRecord = { epoch: 0, secrets: [{ id: '', hash: sha256(''), expiresAt: null }] };

function kindOf(clientId: string): Kind | undefined {
  return kindOfPrefix[clientId.slice(0, 4)];
}

function describe(
  { epoch, expiresAt = null }: ClientRecord,
  { kind, id, secretId, method }: Omit<AuthenticatedClient, 'epoch' | 'expiresAt'>,
): AuthenticatedClient {
  return { kind, id, epoch, expiresAt, secretId, method };
}

/** The live secret with this digest. Compares with every one, so that the time does not tell which fits. */
function match(record: ClientRecord, digest: Buffer, now: Date): string | undefined {
  let found: string | undefined;
  for (const { id, hash, expiresAt } of record.secrets) {
    const fits = equalDigests(hash, digest);
    if (fits && (expiresAt === null || expiresAt > now)) found = id;
  }
  return found;
}

export function createClients({ clock, find }: { clock: Clock; find: ClientFinders }): Clients {
  const known = createBoundedCache<ClientRecord>();

  async function read(kind: Kind, clientId: string): Promise<ClientRecord | undefined> {
    const record = await find[kind](clientId);
    if (record !== undefined) known.set(clientId, record);
    return record;
  }

  /** What memory says of a client; nothing of one that ends soon, because its end, as it is now, caps what it gets. */
  function recall(clientId: string): ClientRecord | undefined {
    const record = known.get(clientId);
    const { expiresAt = null } = record ?? {};
    return expiresAt === null || expiresAt > addSeconds(clock.now(), longestTokenSeconds)
      ? record
      : undefined;
  }

  async function lookUp(
    { clientId, method }: ClientCredentials,
    digest: Buffer,
  ): Promise<AuthenticatedClient> {
    const kind = kindOf(clientId);
    // An unknown client costs the same look-up and comparison as a wrong secret.
    const record = (await read(kind ?? 'agent', clientId)) ?? nobody;
    const secretId = match(record, digest, clock.now());
    if (kind === undefined || record === nobody || secretId === undefined)
      throw new BrokerError('invalid-client');
    return describe(record, { kind, id: clientId, secretId, method });
  }

  return {
    authenticate(credentials, { fresh = false } = {}) {
      const { clientId, method } = credentials;
      const digest = hashSecret(credentials.secret);
      const cached = fresh ? undefined : recall(clientId);
      const secretId = cached === undefined ? undefined : match(cached, digest, clock.now());
      const kind = kindOf(clientId);
      return kind !== undefined && cached !== undefined && secretId !== undefined
        ? describe(cached, { kind, id: clientId, secretId, method })
        : lookUp(credentials, digest);
    },
  };
}
