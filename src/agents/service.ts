import type { AuditEventType } from '../audit/audit-event.ts';
import type { Act, Person } from '../caller.ts';
import type { Client, ClientSecret } from '../client-secrets/client-secret.ts';
import {
  type ClientSecretsDeps,
  type IssuedSecret,
  issueSecret as issueClientSecret,
  listSecrets,
  revokeAllSecrets,
  revokeSecret as revokeClientSecret,
} from '../client-secrets/service.ts';
import type { Db, Tx } from '../db/database.ts';
import { type Page, takePage } from '../db/page.ts';
import { withTransaction } from '../db/transaction.ts';
import { BrokerError, Refusal, refuse } from '../errors.ts';
import type { GrantEndings } from '../grants/endings/endings.ts';
import { type Agent, controlSince } from './agent.ts';
import { type AgentView, viewAgent, viewAgents } from './agent-view.ts';
import { hasSecrets } from './credentials/credential.ts';
import {
  type CandidateQuery,
  findIdentities,
  type IdentityCandidate,
  type ListQuery,
  listIdentities,
} from './credentials/find-identities.ts';
import { type CheckedCredential, setCredential } from './credentials/service.ts';
import { endAgentGrants, endDerivedGrants } from './end-grants.ts';
import * as store from './store.ts';
import {
  type AgentChange,
  asSet,
  type CheckTermsDeps,
  checkTerms,
  describe,
  type NewAgent,
  subject,
} from './terms.ts';
import { updateAgent } from './update.ts';

export interface AgentsDeps extends ClientSecretsDeps {
  db: Db;
  /** Whether the broker may request this URL. An agent may publish its keys only at such a URL. */
  isFetchable: (url: string) => boolean;
  trustedIssuers: CheckTermsDeps['trustedIssuers'];
  grantEndings: Pick<GrantEndings, 'end' | 'settle'>;
}

export type AgentsService = ReturnType<typeof createAgentsService>;

/**
 * Creates the service for agents and their client secrets. Tokens and grants carry the epoch of their agent, and end
 * when it is raised.
 */
export function createAgentsService(deps: AgentsDeps) {
  return {
    create: (act: Act<Person>, agent: NewAgent) => create(deps, act, agent),
    list: (page: { limit: number; after?: string | undefined }) => list(deps, page),
    get: (id: string) => get(deps, id),
    update: (act: Act<Person>, id: string, change: AgentChange) => updateAgent(deps, act, { id, change }),
    remove: (act: Act<Person>, id: string) => remove(deps, act, id),
    disable: (act: Act<Person>, action: Switch) => flip(deps, act, { ...action, to: 'disabled' }),
    enable: (act: Act<Person>, action: Switch) => flip(deps, act, { ...action, to: 'enabled' }),
    issueSecret: (act: Act<Person>, secret: SecretRequest) => issueSecret(deps, act, secret),
    revokeSecret: (act: Act<Person>, secret: { agentId: string; secretId: string }) =>
      revokeSecret(deps, act, secret),
    /** Finds an agent in any status. Returns undefined if it is unknown or deleted. */
    find: (db: Db, id: string): Promise<Agent | undefined> => store.findAgent(db, id),
    /** Does the same as `find`, and locks the agent against changes until the transaction ends. */
    lockShared: (tx: Tx, id: string): Promise<Agent | undefined> => store.lockAgentShared(tx, id),
    /** Returns the controllers of the agent for what it does at `at` (see `controlSince`). */
    controllersOf: (db: Db, agentId: string, at: Date): Promise<Set<string>> =>
      store.listControllers(db, agentId, controlSince(at)),
    /**
     * Finds an agent in any status, with the digests of its valid secrets. Returns undefined if it is unknown or
     * deleted.
     */
    findClient: (db: Db, clientId: string, now: Date): Promise<store.AgentClient | undefined> =>
      store.findAgentClient(db, clientId, now),
    /** Finds the identities of an issuer that are not revoked and that a token may match. */
    findIdentities: (db: Db, query: CandidateQuery): Promise<IdentityCandidate[]> =>
      findIdentities(db, query),
    /** Lists the identities of an issuer that are not revoked, at most 1,000. */
    listIdentities: (db: Db, query: ListQuery): Promise<IdentityCandidate[]> => listIdentities(db, query),
  };
}

const clientOf = (agentId: string): Client => ({ kind: 'agent', id: agentId });

async function create(
  deps: AgentsDeps,
  act: Act<Person>,
  input: NewAgent,
): Promise<AgentView & { clientSecret: string | undefined }> {
  const { db, audit, clock, ids } = deps;
  return withTransaction(db, async (tx) => {
    const checked = await checkTerms(deps, tx, { change: input, before: undefined });
    if (checked instanceof Refusal) return checked;
    const terms = { ...input, labels: asSet(input.labels) };
    const by = { createdAt: clock.now(), createdBy: act.caller.id };
    const agent = await store.insertAgent(tx, { ...terms, ...by, id: ids.next('agent') });
    await audit.append(tx, { ...subject(act, agent.id), type: 'agent.created', details: describe(terms) });
    const clientSecret = await giveCredential(deps, tx, { act, agentId: agent.id, checked });
    if (clientSecret instanceof Refusal) return clientSecret;
    return { ...(await viewAgent(deps, tx, agent)), clientSecret };
  });
}

/** Gives a new agent this credential. Without one, issues a client secret and returns it. */
async function giveCredential(
  deps: AgentsDeps,
  tx: Tx,
  { act, agentId, checked }: { act: Act<Person>; agentId: string; checked: CheckedCredential | undefined },
): Promise<string | undefined | Refusal> {
  if (checked !== undefined) {
    await setCredential(deps, tx, { act, agentId, checked });
    return undefined;
  }
  const secret = await issueClientSecret(deps, tx, { act, client: clientOf(agentId), expiresAt: null });
  return secret instanceof Refusal ? secret : secret.clientSecret;
}

async function list(
  deps: AgentsDeps,
  page: { limit: number; after?: string | undefined },
): Promise<Page<AgentView>> {
  const rows = await store.listAgents(deps.db, { ...page, limit: page.limit + 1 });
  return takePage(await viewAgents(deps, deps.db, rows), page.limit);
}

async function get(deps: AgentsDeps, id: string): Promise<AgentView & { secrets: ClientSecret[] }> {
  const { db } = deps;
  const agent = await store.findAgent(db, id);
  if (agent === undefined) throw new BrokerError('not-found');
  return { ...(await viewAgent(deps, db, agent)), secrets: await listSecrets(db, clientOf(id)) };
}

async function remove(deps: AgentsDeps, act: Act<Person>, id: string): Promise<void> {
  const { db, audit, clock, grantEndings } = deps;
  await withTransaction(db, async (tx) => {
    const at = clock.now();
    if (!(await store.deleteAgent(tx, { id, at }))) return refuse('not-found');
    const revoked = await revokeAllSecrets(tx, clientOf(id), at);
    const details = { secrets_revoked: revoked };
    await audit.append(tx, { ...subject(act, id), type: 'agent.deleted', details });
    await endAgentGrants(deps, tx, { act, agentId: id, at, reason: 'its agent was deleted' });
    return undefined;
  });
  await grantEndings.settle();
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
): Promise<AgentView> {
  const { db, audit, clock } = deps;
  const { type, apply, already } = switches[to];
  const flipped = await withTransaction(db, async (tx) => {
    const at = clock.now();
    const agent = await apply(tx, { id, at });
    if (agent === undefined) {
      const exists = (await store.findAgent(tx, id)) !== undefined;
      return exists ? refuse('conflict', { detail: already }) : refuse('not-found');
    }
    const details = { epoch: agent.epoch, ...(reason === undefined ? {} : { reason }) };
    await audit.append(tx, { ...subject(act, id), type, details });
    if (to === 'disabled')
      await endAgentGrants(deps, tx, { act, agentId: id, at, reason: 'its agent was disabled' });
    return viewAgent(deps, tx, agent);
  });
  await deps.grantEndings.settle();
  return flipped;
}

interface SecretRequest {
  agentId: string;
  /** When the secret expires; null if it never expires. */
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
      return refuse('conflict', { detail: `an agent with ${agent.authMethod} cannot have a secret` });
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
    const at = deps.clock.now();
    const outcome = await revokeClientSecret(deps, tx, { act, client: clientOf(agentId), secretId, at });
    if (outcome instanceof Refusal) return outcome;
    if (outcome === 'already') return undefined;
    await endDerivedGrants(deps, tx, {
      act,
      agentId,
      at,
      reason: 'the credential of its subject token was revoked',
    });
    return undefined;
  });
  await deps.grantEndings.settle();
}
