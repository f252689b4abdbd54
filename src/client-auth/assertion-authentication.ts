import { BrokerError, type RefusedWorkloadToken } from '../errors.ts';
import type { OutboundFailure } from '../outbound/outbound-failure.ts';
import type { AssertionVerifier, UsedAssertions } from './assertions.ts';
import { type AuthenticatedClient, describeClient } from './authenticated-client.ts';
import type { AssertionCredentials } from './client-credentials.ts';
import type { ClientRecords, Remembered } from './client-records.ts';
import type { Dpop } from './dpop/dpop.ts';
import type { DpopRequest } from './dpop/dpop-request.ts';
import { keyToProve, restrictionFailure } from './restrictions.ts';
import { type Claims, parseSignedJwt, type UnverifiedJwt } from './signed-jwt.ts';
import { cutText, issuerOf, show } from './workload-token.ts';

export interface AssertionAuthenticationDeps {
  assertions: AssertionVerifier;
  usedAssertions: UsedAssertions;
  dpop: Dpop;
  issuer: string;
}

/** Authenticates by the client's own assertion if its issuer is its subject, else by a trusted issuer's token. */
export function authenticateByAssertion(deps: AssertionAuthenticationDeps, records: ClientRecords) {
  return (
    credentials: AssertionCredentials,
    fresh: boolean,
  ): AuthenticatedClient | Promise<AuthenticatedClient> => {
    const unverified = parseSignedJwt(credentials.assertion);
    if (unverified === undefined) throw refuseAssertion('malformed');
    const given = { credentials, unverified, fresh };
    return unverified.issuer === unverified.subject
      ? authenticateByOwnKeys(deps, records, given)
      : authenticateByIdentity(deps, records, given);
  };
}

interface Given {
  credentials: AssertionCredentials;
  unverified: UnverifiedJwt;
  fresh: boolean;
}

async function authenticateByOwnKeys(
  deps: AssertionAuthenticationDeps,
  records: ClientRecords,
  { credentials, unverified, fresh }: Given,
): Promise<AuthenticatedClient> {
  const { subject: id } = unverified;
  assertSameClient(credentials, id);
  const { value: record, result } = await verifyWithMemory({
    memory: records.ofClient(id),
    fresh,
    verify: (known) => deps.assertions.verifyOwn(credentials.assertion, unverified, known?.keys),
    versionOf: ({ keys }) => JSON.stringify([keys?.credentials.map((each) => each.id), keys?.legacyAudience]),
  });
  if (!result.ok) throw refuseAssertion(result.reason, { failure: result.failure });
  if (record === undefined) throw refuseAssertion('unknown-client');
  const { assertion, credentialId: secretId } = result;
  await assertUnrestricted(deps, credentials, { claims: assertion.claims, actorId: id });
  if (!(await deps.usedAssertions.use(credentials, assertion))) throw refuseAssertion('used-before');
  return describeClient(record, { kind: 'agent', id, secretId, method: 'private_key_jwt' });
}

async function authenticateByIdentity(
  deps: AssertionAuthenticationDeps,
  records: ClientRecords,
  { credentials, unverified, fresh }: Given,
): Promise<AuthenticatedClient> {
  const { result } = await verifyWithMemory({
    memory: records.issuersNamed(issuerOf(unverified) ?? ''),
    fresh,
    verify: (known) =>
      deps.assertions.verifyWorkload(credentials.assertion, unverified, {
        issuers: known?.issuers ?? [],
        find: records.identities,
      }),
    versionOf: ({ version }) => version,
  });
  if (!result.ok) throw refuseToken(unverified, result);
  const { identity, claims } = result;
  const { agentId: id, id: secretId } = identity;
  const client = records.ofClient(id);
  const record = (fresh ? undefined : client.recall()) ?? (await client.read());
  if (record === undefined)
    throw refuseToken(unverified, {
      reason: 'unknown-client',
      detail: `agent ${id} is disabled or has expired`,
    });
  try {
    assertSameClient(credentials, id);
    await assertUnrestricted(deps, credentials, { claims, actorId: id });
  } catch (error) {
    throw describeToken(error, unverified, id);
  }
  const endsAt = new Date(Math.floor(claims.exp) * 1000);
  const authenticated = { kind: 'agent', id, secretId, method: 'federated_jwt' } as const;
  return describeClient(record, { ...authenticated, endsAt });
}

interface TokenRefusal {
  reason: string;
  detail?: string;
  failure?: OutboundFailure;
}

/** Refuses the token of a trusted issuer. The reason and the differences are only for the log and the audit log. */
function refuseToken(
  { issuer, subject }: UnverifiedJwt,
  { reason, detail, failure }: TokenRefusal,
): BrokerError {
  const about = { issuer: cutText(issuer ?? ''), subject: cutText(subject), reason };
  const refusedToken = detail === undefined ? about : { ...about, detail };
  const text = `iss ${show(issuer)}, sub ${show(subject)}${detail === undefined ? '' : `; ${detail}`}`;
  return refuseAssertion(`${reason} (${text})`, { failure, refusedToken });
}

/**
 * Adds the token of an agent to the refusal of an assertion. Returns any other error, which the client may see,
 * unchanged.
 */
function describeToken(error: unknown, unverified: UnverifiedJwt, agentId: string): unknown {
  if (!(error instanceof BrokerError) || error.code !== 'invalid-client') return error;
  const reason = error.internal?.replace(/^client assertion: /, '') ?? 'refused';
  return refuseToken(unverified, { reason, detail: `it authenticates agent ${agentId}` });
}

interface Attempt<Value, Result> {
  memory: Remembered<Value>;
  fresh: boolean;
  verify: (value: Value | undefined) => Promise<Result>;
  /** Returns a text of the parts of a value on which the result depends: equal texts have equal results. */
  versionOf: (value: Value) => string;
}

/** Verifies with the value in memory. If that fails and the database has another value, verifies with that one. */
async function verifyWithMemory<Value, Result extends { ok: boolean }>({
  memory,
  fresh,
  verify,
  versionOf,
}: Attempt<Value, Result>): Promise<{ value: Value | undefined; result: Result }> {
  const cached = fresh ? undefined : memory.recall();
  const result = cached === undefined ? undefined : await verify(cached);
  if (result?.ok === true) return { value: cached, result };
  const value = await memory.read();
  const isSame = cached !== undefined && value !== undefined && versionOf(cached) === versionOf(value);
  return { value, result: isSame && result !== undefined ? result : await verify(value) };
}

/** Asserts that the `client_id` parameter, if present, names the client of the assertion (RFC 7521 section 4.2). */
function assertSameClient({ clientId }: AssertionCredentials, authenticated: string): void {
  if (clientId !== undefined && clientId !== authenticated) throw refuseAssertion('other-client');
}

/** Asserts that the claims let the client use the assertion in this request. See `restrictionFailure`. */
async function assertUnrestricted(
  { dpop, issuer }: AssertionAuthenticationDeps,
  credentials: AssertionCredentials,
  { claims, actorId }: { claims: Claims; actorId: string },
): Promise<void> {
  const jkt = keyToProve(claims) === undefined ? undefined : await provedKey(dpop, credentials.dpop);
  const failure = restrictionFailure(claims, { issuer, actorId, jkt });
  if (failure !== undefined) throw refuseAssertion(failure);
}

/** Verifies the request's DPoP proof. An invalid proof refuses the assertion; `use-dpop-nonce` reaches the client. */
async function provedKey(dpop: Dpop, request: DpopRequest): Promise<string | undefined> {
  try {
    return await dpop.prove(request);
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'invalid-dpop-proof') throw error;
    throw refuseAssertion(`unproved-key (${error.detail})`);
  }
}

interface RefusalCause {
  failure?: OutboundFailure | undefined;
  refusedToken?: RefusedWorkloadToken;
}

/** Makes the refusal of an assertion. The reason is only for the log: callers must not learn which clients exist. */
function refuseAssertion(reason: string, { failure, refusedToken }: RefusalCause = {}): BrokerError {
  return new BrokerError('invalid-client', {
    internal: `client assertion: ${reason}`,
    cause: failure,
    ...(refusedToken === undefined ? {} : { refusedToken }),
  });
}
