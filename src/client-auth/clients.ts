import { equalDigests, hashSecret } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import type { Clock } from '../platform/clock.ts';
import { type AssertionAuthenticationDeps, authenticateByAssertion } from './assertion-authentication.ts';
import { type AuthenticatedClient, describeClient } from './authenticated-client.ts';
import type { ClientCredentials, SecretCredentials } from './client-credentials.ts';
import {
  type ClientFinders,
  type ClientRecord,
  type ClientRecords,
  createClientRecords,
  kindOf,
  nobody,
} from './client-records.ts';

export interface Clients {
  /**
   * Authenticates a client, from memory if possible: the next statement checks epoch and secret again.
   * `fresh` always reads the database. The first call consumes an assertion; later calls with the same
   * credentials object may authenticate it again. Throws `invalid-client` without distinction for an
   * unknown client, a wrong secret or assertion, and a client that is disabled, expired or deleted;
   * `overloaded`. Returns no promise if memory has the answer: this is the hot path.
   */
  authenticate(
    credentials: ClientCredentials,
    options?: { fresh?: boolean },
  ): AuthenticatedClient | Promise<AuthenticatedClient>;
}

export interface ClientsDeps extends AssertionAuthenticationDeps {
  clock: Clock;
  find: ClientFinders;
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

/** Finds the unexpired secret with this digest. Compares all, so that timing does not reveal which one matches. */
function match(record: ClientRecord, digest: Buffer, now: Date): string | undefined {
  let found: string | undefined;
  for (const { id, hash, expiresAt } of record.secrets) {
    const isEqual = equalDigests(hash, digest);
    if (isEqual && (expiresAt === null || expiresAt > now)) found = id;
  }
  return found;
}

function authenticateBySecret({ clock }: ClientsDeps, records: ClientRecords) {
  async function lookUp(
    { clientId, method }: SecretCredentials,
    digest: Buffer,
  ): Promise<AuthenticatedClient> {
    // An unknown client costs the same comparison as a wrong secret.
    const record = (await records.ofClient(clientId).read()) ?? nobody;
    const secretId = match(record, digest, clock.now());
    const kind = kindOf(clientId);
    if (kind === undefined || record === nobody || secretId === undefined)
      throw new BrokerError('invalid-client');
    return describeClient(record, { kind, id: clientId, secretId, method });
  }

  return (
    credentials: SecretCredentials,
    fresh: boolean,
  ): AuthenticatedClient | Promise<AuthenticatedClient> => {
    const { clientId, method } = credentials;
    const digest = hashSecret(credentials.secret);
    const cached = fresh ? undefined : records.ofClient(clientId).recall();
    const secretId = cached === undefined ? undefined : match(cached, digest, clock.now());
    const kind = kindOf(clientId);
    return kind !== undefined && cached !== undefined && secretId !== undefined
      ? describeClient(cached, { kind, id: clientId, secretId, method })
      : lookUp(credentials, digest);
  };
}
