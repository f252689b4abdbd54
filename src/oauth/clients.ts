import { equalDigests, hashSecret } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import type { AssertionProofs, SpentAssertions } from './assertion-proof.ts';
import { readAssertion } from './client-assertion.ts';
import type { AssertionCredentials, ClientCredentials, SecretCredentials } from './client-credentials.ts';
import {
  type ClientFinders,
  type ClientKind,
  type ClientRecord,
  type ClientRecords,
  createClientRecords,
  kindOf,
  nobody,
} from './client-records.ts';

/** How a client proved itself (RFC 7591 section 2): what policy sees of it. */
export type AuthMethod = SecretCredentials['method'] | 'private_key_jwt';

/** A client that has proved itself. */
export interface AuthenticatedClient {
  kind: ClientKind;
  id: string;
  epoch: number;
  expiresAt: Date | null;
  /** What it proved itself by: its secret or its keys. */
  secretId: string;
  method: AuthMethod;
}

export interface Clients {
  /**
   * The client of these credentials. From memory where that suffices: whoever relies on it has epoch and secret checked
   * in the statement that follows. `fresh` reads the database whatever is in memory. An assertion is used up by this; the
   * same credentials may be looked at again. Throws `invalid-client`, alike for an unknown client, a wrong secret or
   * assertion, and a client that is disabled, expired or deleted; `overloaded`. No promise where memory has the answer:
   * this is the hot path.
   */
  authenticate(
    credentials: ClientCredentials,
    options?: { fresh?: boolean },
  ): AuthenticatedClient | Promise<AuthenticatedClient>;
}

export interface ClientsDeps {
  clock: Clock;
  find: ClientFinders;
  proofs: AssertionProofs;
  spent: SpentAssertions;
}

export function createClients(deps: ClientsDeps): Clients {
  const records = createClientRecords(deps);
  const bySecret = authenticateBySecret(deps, records);
  const byAssertion = authenticateByAssertion(deps, records);
  return {
    authenticate: (credentials, { fresh = false } = {}) =>
      credentials.method === 'client_assertion'
        ? byAssertion(credentials, fresh)
        : bySecret(credentials, fresh),
  };
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

type Authenticate<Credentials> = (
  credentials: Credentials,
  fresh: boolean,
) => AuthenticatedClient | Promise<AuthenticatedClient>;

function authenticateBySecret(
  { clock }: ClientsDeps,
  records: ClientRecords,
): Authenticate<SecretCredentials> {
  async function lookUp(
    { clientId, method }: SecretCredentials,
    digest: Buffer,
  ): Promise<AuthenticatedClient> {
    // An unknown client costs the same look-up and comparison as a wrong secret.
    const record = await records.read(clientId);
    const secretId = match(record, digest, clock.now());
    const kind = kindOf(clientId);
    if (kind === undefined || record === nobody || secretId === undefined)
      throw new BrokerError('invalid-client');
    return describe(record, { kind, id: clientId, secretId, method });
  }

  return (credentials, fresh) => {
    const { clientId, method } = credentials;
    const digest = hashSecret(credentials.secret);
    const cached = fresh ? undefined : records.recall(clientId);
    const secretId = cached === undefined ? undefined : match(cached, digest, clock.now());
    const kind = kindOf(clientId);
    return kind !== undefined && cached !== undefined && secretId !== undefined
      ? describe(cached, { kind, id: clientId, secretId, method })
      : lookUp(credentials, digest);
  };
}

function authenticateByAssertion(
  { proofs, spent }: ClientsDeps,
  records: ClientRecords,
): Authenticate<AssertionCredentials> {
  return async (credentials, fresh) => {
    const said = readAssertion(credentials.assertion);
    if (said === undefined) throw unproved('malformed');
    const { clientId: id } = said;
    if (credentials.clientId !== undefined && credentials.clientId !== id) throw unproved('other-client');
    const cached = fresh ? undefined : records.recall(id);
    let record = cached ?? (await records.read(id));
    let proof = await proofs.prove(record, credentials, said);
    if (!proof.ok && record === cached) {
      record = await records.read(id);
      proof = await proofs.prove(record, credentials, said);
    }
    if (!proof.ok) throw unproved(proof.reason);
    if (!(await spent.spend(credentials, proof.assertion))) throw unproved('used-before');
    return describe(record, { kind: 'agent', id, secretId: proof.keysId, method: 'private_key_jwt' });
  };
}

/** The reason is for the log alone: nobody learns which clients there are. */
function unproved(reason: string): BrokerError {
  return new BrokerError('invalid-client', { internal: `client assertion: ${reason}` });
}
