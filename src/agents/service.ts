import { type AuditEventType, byAct } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import { type Client, type ClientSecret, endsLater } from '../client-secrets/client-secret.ts';
import {
  type ClientSecretsDeps,
  type IssuedSecret,
  issueSecret as issueClientSecret,
  revokeSecret as revokeClientSecret,
} from '../client-secrets/service.ts';
import { listSecrets, revokeAllSecrets } from '../client-secrets/store.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, Refusal, refuse } from '../errors.ts';
import type { TrustedIssuersService } from '../trusted-issuers/service.ts';
import { type Agent, type AgentStatus, agentStatus, comesBack, controlSince } from './agent.ts';
import { checkProof, hasSecrets, type Proof, type ProofTerms, planProof } from './proofs/proof.ts';
import { setProof } from './proofs/service.ts';
import { findIdentity, type ProofSummary, type StoredIdentity, summarizeProofs } from './proofs/store.ts';
import * as store from './store.ts';

export interface AgentsDeps extends ClientSecretsDeps {
  db: Db;
  /** Whether the broker would call this URL: where an agent publishes its keys must be such a one. */
  isFetchable: (url: string) => boolean;
  trustedIssuers: Pick<TrustedIssuersService, 'lockTrust'>;
}

/** `expiresAt` null: never. */
export type NewAgent = store.AgentTerms & ProofTerms;
export type AgentChange = store.AgentChange & ProofTerms;

/** An agent, what it is now, and what it proves itself by. */
export type AgentNow = Agent & ProofSummary & { status: AgentStatus };

export type AgentsService = ReturnType<typeof createAgentsService>;

/** Agents and their client secrets. What is issued to an agent carries its epoch, and ends when that is raised. */
export function createAgentsService(deps: AgentsDeps) {
  return {
    create: (act: Act<Person>, agent: NewAgent) => create(deps, act, agent),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: AgentChange) => update(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    disable: (act: Act<Person>, action: Switch) => flip(deps, act, { ...action, to: 'disabled' }),
    enable: (act: Act<Person>, action: Switch) => flip(deps, act, { ...action, to: 'enabled' }),
    issueSecret: (act: Act<Person>, secret: SecretRequest) => issueSecret(deps, act, secret),
    revokeSecret: (act: Act<Person>, secret: { agentId: string; secretId: string }) =>
      revokeSecret(deps, act, secret),
    /** The agent, whatever its status; undefined if it is unknown or deleted. */
    find: (db: Db, id: string): Promise<Agent | undefined> => store.findAgent(db, id),
    /** The same, and nobody changes it until the transaction ends. */
    lockShared: (tx: Tx, id: string): Promise<Agent | undefined> => store.lockAgentShared(tx, id),
    /** Everyone who controls what the agent does at `at`: its owner, who created it, who issued a secret of it (`controlSince`). */
    controllersOf: (db: Db, agentId: string, at: Date): Promise<Set<string>> =>
      store.listControllers(db, agentId, controlSince(at)),
    /** The agent, whatever its status, with the digests of its live secrets; undefined if unknown or deleted. */
    findClient: (db: Db, clientId: string, now: Date): Promise<store.AgentClient | undefined> =>
      store.findAgentClient(db, clientId, now),
    /** The agent that a trusted issuer's subject is; undefined: none is. */
    findIdentity: (db: Db, who: { issuer: string; subject: string }): Promise<StoredIdentity | undefined> =>
      findIdentity(db, who),
  };
}

async function atPresent({ clock }: AgentsDeps, db: Db, agents: readonly Agent[]): Promise<AgentNow[]> {
  const now = clock.now();
  const ids = agents.map(({ id }) => id);
  const proofOf = await summarizeProofs(db, ids, now);
  return agents.map((agent) => ({ ...agent, ...proofOf(agent.id), status: agentStatus(agent, now) }));
}

async function oneAtPresent(deps: AgentsDeps, db: Db, agent: Agent): Promise<AgentNow> {
  const [present] = await atPresent(deps, db, [agent]);
  if (present === undefined) throw new Error('an agent went missing');
  return present;
}

const clientOf = (agentId: string): Client => ({ kind: 'agent', id: agentId });

async function create(
  deps: AgentsDeps,
  act: Act<Person>,
  input: NewAgent,
): Promise<AgentNow & { clientSecret: string | undefined }> {
  const { db, audit, clock, ids } = deps;
  return withTransaction(db, async (tx) => {
    const proof = await checkTerms(deps, tx, { change: input, before: undefined });
    if (proof instanceof Refusal) return proof;
    const terms = { ...input, labels: asSet(input.labels) };
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const agent = await store.insertAgent(tx, { ...terms, ...by, id: ids.next('agent') });
    await audit.append(tx, { ...subject(act, agent.id), type: 'agent.created', details: describe(terms) });
    const clientSecret = await giveProof(deps, tx, { act, agentId: agent.id, proof });
    if (clientSecret instanceof Refusal) return clientSecret;
    return { ...(await oneAtPresent(deps, tx, agent)), clientSecret };
  });
}

/** What a new agent proves itself by: this, or a secret, which is answered. */
async function giveProof(
  deps: AgentsDeps,
  tx: Tx,
  { act, agentId, proof }: { act: Act<Person>; agentId: string; proof: Proof | undefined },
): Promise<string | undefined | Refusal> {
  if (proof !== undefined) {
    await setProof(deps, tx, { act, agentId, proof });
    return undefined;
  }
  const secret = await issueClientSecret(deps, tx, { act, client: clientOf(agentId), expiresAt: null });
  return secret instanceof Refusal ? secret : secret.clientSecret;
}

/**
 * Refuses an owner who is not there, an expiry that is past, and a proof that is not good; answers the proof that is to be
 * set, if any. The owner, and the issuer that is relied on, stay until the transaction ends.
 */
async function checkTerms(
  { clock, isFetchable, trustedIssuers }: AgentsDeps,
  tx: Tx,
  { change, before }: { change: AgentChange; before: Agent | undefined },
): Promise<Proof | undefined | Refusal> {
  const { owner, expiresAt, authMethod = before?.authMethod } = change;
  const invalid = (detail: string): Refusal => refuse('invalid-request', { detail });
  if (expiresAt !== undefined && !endsLater(expiresAt, clock.now()))
    return invalid('expires_at must be in the future');
  if (owner !== undefined && !(await store.lockOwner(tx, owner)))
    return invalid('owner is not a person here');
  if (authMethod === undefined) return undefined;
  const from = before === undefined ? {} : { from: before.authMethod };
  const proof = planProof({ ...from, to: authMethod, terms: change });
  if (proof === undefined || proof instanceof Refusal) return proof;
  const { identity } = proof;
  const issuer =
    identity === undefined ? undefined : await trustedIssuers.lockTrust(tx, identity.trustedIssuerId);
  if (identity !== undefined && issuer === undefined)
    return invalid('identity.trusted_issuer_id is not an issuer that is trusted here');
  const problem = checkProof(proof, { isFetchable, issuer });
  return problem === undefined ? proof : invalid(problem);
}

async function list(
  deps: AgentsDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<AgentNow>> {
  const rows = await store.listAgents(deps.db, { ...page, limit: page.limit + 1 });
  return takePage(await atPresent(deps, deps.db, rows), page.limit);
}

async function get(deps: AgentsDeps, id: string): Promise<AgentNow & { secrets: ClientSecret[] }> {
  const { db } = deps;
  const agent = await store.findAgent(db, id);
  if (agent === undefined) throw new BrokerError('not-found');
  return { ...(await oneAtPresent(deps, db, agent)), secrets: await listSecrets(db, clientOf(id)) };
}

async function update(
  deps: AgentsDeps,
  act: Act<Person>,
  { id, change }: { id: string; change: AgentChange },
): Promise<AgentNow> {
  const { db, audit, clock } = deps;
  return withTransaction(db, async (tx) => {
    const before = await store.lockAgent(tx, id);
    if (before === undefined) return refuse('not-found');
    const proof = await checkTerms(deps, tx, { change, before });
    if (proof instanceof Refusal) return proof;
    const terms = normalized(change);
    const at = clock.now();
    const raiseEpoch = comesBack(before, change.expiresAt, at);
    const agent = await store.updateAgent(tx, { id, change: terms, raiseEpoch, at });
    const details = raiseEpoch ? { ...describe(terms), epoch: agent.epoch } : describe(terms);
    await audit.append(tx, { ...subject(act, id), type: 'agent.updated', details });
    if (proof !== undefined) await setProof(deps, tx, { act, agentId: id, proof });
    return oneAtPresent(deps, tx, agent);
  });
}

async function remove({ db, audit, clock }: AgentsDeps, act: Act<Person>, id: string): Promise<void> {
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await store.deleteAgent(tx, { id, at }))) return refuse('not-found');
    const revoked = await revokeAllSecrets(tx, clientOf(id), at);
    const details = { secrets_revoked: revoked };
    await audit.append(tx, { ...subject(act, id), type: 'agent.deleted', details });
    return undefined;
  });
}

export interface Switch {
  id: string;
  reason?: string | undefined;
}

type SwitchTable = Record<
  'disabled' | 'enabled',
  { type: AuditEventType; apply: typeof store.disableAgent; already: string }
>;

const switches: SwitchTable = {
  disabled: { type: 'agent.disabled', apply: store.disableAgent, already: 'the agent is disabled already' },
  enabled: { type: 'agent.enabled', apply: store.enableAgent, already: 'the agent is not disabled' },
};

async function flip(
  deps: AgentsDeps,
  act: Act<Person>,
  { id, reason, to }: Switch & { to: keyof SwitchTable },
): Promise<AgentNow> {
  const { db, audit, clock } = deps;
  const { type, apply, already } = switches[to];
  return withTransaction(db, async (tx) => {
    const agent = await apply(tx, { id, at: clock.now() });
    if (agent === undefined) {
      const exists = (await store.findAgent(tx, id)) !== undefined;
      return exists ? refuse('conflict', { detail: already }) : refuse('not-found');
    }
    const details = { epoch: agent.epoch, ...(reason === undefined ? {} : { reason }) };
    await audit.append(tx, { ...subject(act, id), type, details });
    return oneAtPresent(deps, tx, agent);
  });
}

interface SecretRequest {
  agentId: string;
  /** Null: never. */
  expiresAt: Date | null;
}

async function issueSecret(
  deps: AgentsDeps,
  act: Act<Person>,
  { agentId, expiresAt }: SecretRequest,
): Promise<IssuedSecret> {
  return withTransaction(deps.db, async (tx) => {
    const agent = await store.lockAgent(tx, agentId);
    if (agent === undefined) return refuse('not-found');
    if (!hasSecrets(agent.authMethod))
      return refuse('conflict', { detail: `an agent with ${agent.authMethod} gets no secret` });
    return issueClientSecret(deps, tx, { act, client: clientOf(agentId), expiresAt });
  });
}

async function revokeSecret(
  deps: AgentsDeps,
  act: Act<Person>,
  { agentId, secretId }: { agentId: string; secretId: string },
): Promise<void> {
  await withTransaction(deps.db, async (tx) => {
    if ((await store.lockAgent(tx, agentId)) === undefined) return refuse('not-found');
    return revokeClientSecret(deps, tx, { act, client: clientOf(agentId), secretId });
  });
}

/** Labels as a set; the switch of another method goes with it. */
function normalized(change: AgentChange): AgentChange {
  const { labels, authMethod } = change;
  const left = authMethod !== undefined && authMethod !== 'private_key_jwt';
  return {
    ...change,
    ...(labels === undefined ? {} : { labels: asSet(labels) }),
    ...(left ? { legacyAudience: false } : {}),
  };
}

function asSet(labels: readonly string[]): string[] {
  return [...new Set(labels)];
}

function subject(act: Act<Person>, agentId: string) {
  return { ...byAct(act), agentId, objectId: agentId };
}

/** Terms under the contract's names; those that are undefined do not get into the record. */
function describe(terms: store.AgentChange): Record<string, unknown> {
  return {
    name: terms.name,
    owner: terms.owner,
    environment: terms.environment,
    token_endpoint_auth_method: terms.authMethod,
    legacy_audience: terms.legacyAudience,
    require_bound_tokens: terms.requireBoundTokens,
    grants_on_demand: terms.grantsOnDemand,
    labels: terms.labels,
    expires_at: terms.expiresAt,
  };
}
