import { equalDigests, hashSecret } from '../../crypto/hash.ts';
import { BrokerError } from '../../errors.ts';
import type { OutboundFailure } from '../../outbound/outbound-failure.ts';
import type { Clock } from '../../platform/clock.ts';
import type { AssertionProofs, SpentAssertions } from './assertion-proof.ts';
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
import { readSignedJwt, type UnverifiedJwt } from './signed-jwt.ts';
import { issuerOf } from './workload-token.ts';

/** How a client proved itself (RFC 7591 section 2): what policy sees of it. */
export type AuthMethod = SecretCredentials['method'] | 'private_key_jwt' | 'federated_jwt';

/** A client that has proved itself. */
export interface AuthenticatedClient {
  kind: ClientKind;
  id: string;
  epoch: number;
  expiresAt: Date | null;
  /** What it proved itself by: its secret, its keys or its identity. */
  secretId: string;
  method: AuthMethod;
  /** Whether its tokens have to be bound to a key. */
  requireBoundTokens: boolean;
  /** Whether a token request that no grant covers asks for one. */
  grantsOnDemand: boolean;
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
  { epoch, expiresAt = null, requireBoundTokens = false, grantsOnDemand = false }: ClientRecord,
  { kind, id, secretId, method }: Pick<AuthenticatedClient, 'kind' | 'id' | 'secretId' | 'method'>,
): AuthenticatedClient {
  return { kind, id, epoch, expiresAt, secretId, method, requireBoundTokens, grantsOnDemand };
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
    // An unknown client costs the same comparison as a wrong secret.
    const record = (await records.ofClient(clientId).read()) ?? nobody;
    const secretId = match(record, digest, clock.now());
    const kind = kindOf(clientId);
    if (kind === undefined || record === nobody || secretId === undefined)
      throw new BrokerError('invalid-client');
    return describe(record, { kind, id: clientId, secretId, method });
  }

  return (credentials, fresh) => {
    const { clientId, method } = credentials;
    const digest = hashSecret(credentials.secret);
    const cached = fresh ? undefined : records.ofClient(clientId).recall();
    const secretId = cached === undefined ? undefined : match(cached, digest, clock.now());
    const kind = kindOf(clientId);
    return kind !== undefined && cached !== undefined && secretId !== undefined
      ? describe(cached, { kind, id: clientId, secretId, method })
      : lookUp(credentials, digest);
  };
}

/** What a client proves with an assertion of its own, it signs as issuer and subject; any other is a trusted issuer's. */
function authenticateByAssertion(
  deps: ClientsDeps,
  records: ClientRecords,
): Authenticate<AssertionCredentials> {
  return (credentials, fresh) => {
    const said = readSignedJwt(credentials.assertion);
    if (said === undefined) throw unproved('malformed');
    const asked = { credentials, said, fresh };
    return said.issuer === said.subject ? byOwnKeys(deps, records, asked) : byIdentity(deps, records, asked);
  };
}

interface Asked {
  credentials: AssertionCredentials;
  said: UnverifiedJwt;
  fresh: boolean;
}

async function byOwnKeys(
  { proofs, spent }: ClientsDeps,
  records: ClientRecords,
  { credentials, said, fresh }: Asked,
): Promise<AuthenticatedClient> {
  const { subject: id } = said;
  assertSame(credentials, id);
  const memory = records.ofClient(id);
  const { value: record, proof } = await firstGood({
    memory,
    fresh,
    prove: (known) => proofs.ofKeys(credentials.assertion, said, known?.keys),
    termsOf: ({ keys }) => `${keys?.id} ${keys?.legacyAudience}`,
  });
  if (!proof.ok) throw unproved(proof.reason, proof.failure);
  if (record === undefined) throw unproved('unknown-client');
  if (!(await spent.spend(credentials, proof.assertion))) throw unproved('used-before');
  return describe(record, { kind: 'agent', id, secretId: proof.keysId, method: 'private_key_jwt' });
}

async function byIdentity(
  { proofs }: ClientsDeps,
  records: ClientRecords,
  { credentials, said, fresh }: Asked,
): Promise<AuthenticatedClient> {
  const memory = records.ofIdentity(issuerOf(said) ?? '', said.subject);
  const { value: known, proof } = await firstGood({
    memory,
    fresh,
    prove: (client) => proofs.ofIdentity(credentials.assertion, said, client?.identity),
    termsOf: ({ identity }) => identity.id,
  });
  if (!proof.ok) throw unproved(proof.reason, proof.failure);
  if (known === undefined) throw unproved('unknown-client');
  const { record, clientId: id } = known;
  assertSame(credentials, id);
  return describe(record, { kind: 'agent', id, secretId: proof.identityId, method: 'federated_jwt' });
}

interface Attempt<Value, Proof> {
  memory: { recall(): Value | undefined; read(): Promise<Value | undefined> };
  fresh: boolean;
  prove: (value: Value | undefined) => Promise<Proof>;
  /** What the proof depends on: the same terms have the same outcome. */
  termsOf: (value: Value) => string;
}

/** The proof by what is in memory, if that is good; else by what the database says, if that is something else. */
async function firstGood<Value, Proof extends { ok: boolean }>({
  memory,
  fresh,
  prove,
  termsOf,
}: Attempt<Value, Proof>): Promise<{ value: Value | undefined; proof: Proof }> {
  const cached = fresh ? undefined : memory.recall();
  const proof = cached === undefined ? undefined : await prove(cached);
  if (proof?.ok === true) return { value: cached, proof };
  const value = await memory.read();
  const isSame = cached !== undefined && value !== undefined && termsOf(cached) === termsOf(value);
  return { value, proof: isSame && proof !== undefined ? proof : await prove(value) };
}

/** A `client_id` beside an assertion is that of the client it proves (RFC 7521 section 4.2). */
function assertSame({ clientId }: AssertionCredentials, proved: string): void {
  if (clientId !== undefined && clientId !== proved) throw unproved('other-client');
}

/** The reason is for the log alone: nobody learns which clients there are. */
function unproved(reason: string, cause?: OutboundFailure): BrokerError {
  return new BrokerError('invalid-client', { internal: `client assertion: ${reason}`, cause });
}
