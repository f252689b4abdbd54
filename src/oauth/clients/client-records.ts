import { sha256 } from '../../crypto/hash.ts';
import { longestTokenSeconds } from '../../keys/signing-key.ts';
import { createBoundedCache } from '../../platform/bounded-cache.ts';
import { addSeconds, type Clock } from '../../platform/clock.ts';
import type { SubjectIssuer } from '../exchange/subject-token.ts';
import type { ClientIdentity, ClientKeys } from './assertion-proof.ts';

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
  /** Whether its tokens have to be bound to a key. */
  requireBoundTokens?: boolean;
  /** Whether its token requests ask for grants. */
  grantsOnDemand?: boolean;
  /** Instead of secrets. */
  keys?: ClientKeys | undefined;
}

export type ClientKind = 'agent' | 'resource';

/** A client that a trusted issuer speaks of. */
export interface IdentifiedClient {
  clientId: string;
  record: ClientRecord;
  identity: ClientIdentity;
}

/** How a client is looked up: by its kind and id, or by who it is to an issuer that is trusted. */
export interface ClientFinders
  extends Record<ClientKind, (clientId: string) => Promise<ClientRecord | undefined>> {
  identified(issuer: string, subject: string): Promise<IdentifiedClient | undefined>;
}

/** With an issuer whose subjects clients may act for. */
export interface Finders extends ClientFinders {
  subjectIssuer(issuer: string): Promise<SubjectIssuer | undefined>;
}

/** A change of how an agent without a secret proves itself is in force everywhere after this. */
const keepProofsMs = 1_000;
const kindOfPrefix: Record<string, ClientKind> = { agt_: 'agent', res_: 'resource' };

export function kindOf(clientId: string): ClientKind | undefined {
  return kindOfPrefix[clientId.slice(0, 4)];
}

/** What is known of a client that is not there, or no client: to refuse it costs what a wrong secret costs. */
export const nobody: ClientRecord = { epoch: 0, secrets: [{ id: '', hash: sha256(''), expiresAt: null }] };

/** Reads the database, or says what is in memory of it; each with its own key. */
interface Memory<Value> {
  read(): Promise<Value | undefined>;
  recall(): Value | undefined;
}

export interface ClientRecords {
  /**
   * What memory says of a client ends before the client does, because its end, as it is now, caps what it gets; and soon
   * for one without a secret, because no statement checks again what was to be said of it.
   */
  ofClient(clientId: string): Memory<ClientRecord>;
  ofIdentity(issuer: string, subject: string): Memory<IdentifiedClient>;
}

export function createClientRecords({ clock, find }: { clock: Clock; find: ClientFinders }): ClientRecords {
  const isLasting = ({ expiresAt = null }: ClientRecord): boolean =>
    expiresAt === null || expiresAt > addSeconds(clock.now(), longestTokenSeconds);

  function remember<Value>(needs: {
    recordOf: (value: Value) => ClientRecord;
    isBrief: (value: Value) => boolean;
  }) {
    const known = createBoundedCache<{ value: Value; readAt: number }>();
    return (key: string, look: () => Promise<Value | undefined>): Memory<Value> => ({
      async read() {
        const value = await look();
        if (value !== undefined) known.set(key, { value, readAt: clock.now().getTime() });
        return value;
      },
      recall() {
        const entry = known.get(key);
        if (entry === undefined || !isLasting(needs.recordOf(entry.value))) return undefined;
        const ageMs = clock.now().getTime() - entry.readAt;
        const isGood = !needs.isBrief(entry.value) || (ageMs >= 0 && ageMs < keepProofsMs);
        return isGood ? entry.value : undefined;
      },
    });
  }

  const clients = remember<ClientRecord>({
    recordOf: (record) => record,
    isBrief: ({ keys }) => keys !== undefined,
  });
  const identities = remember<IdentifiedClient>({ recordOf: ({ record }) => record, isBrief: () => true });
  return {
    ofClient: (clientId) => {
      const kind = kindOf(clientId);
      // An unknown client costs the same look-up as a known one.
      return clients(clientId, async () => {
        const record = await find[kind ?? 'agent'](clientId);
        return kind === undefined ? undefined : record;
      });
    },
    ofIdentity: (issuer, subject) =>
      identities(JSON.stringify([issuer, subject]), () => find.identified(issuer, subject)),
  };
}
