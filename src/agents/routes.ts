import { presentIssued, presentSecret } from '../client-secrets/present.ts';
import { BrokerError } from '../errors.ts';
import type { components } from '../http/api.gen.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import { toCanonicalConditions } from '../trusted-issuers/conditions.ts';
import type { AgentView } from './agent-view.ts';
import type { CredentialTerms, Identity } from './credentials/credential.ts';
import type { AgentsService } from './service.ts';

function present(agent: AgentView) {
  return {
    id: agent.id,
    client_id: agent.id,
    name: agent.name,
    owner: agent.owner,
    environment: agent.environment,
    token_endpoint_auth_method: agent.authMethod,
    jwks: agent.jwks,
    jwks_uri: agent.jwksUri,
    identity: presentOnly(agent.identities),
    identities: agent.identities.map(presentIdentity),
    legacy_audience: agent.legacyAudience,
    require_bound_tokens: agent.requireBoundTokens,
    grants_on_demand: agent.grantsOnDemand,
    oldest_secret_created_at: agent.oldestSecretAt?.toISOString() ?? null,
    labels: agent.labels,
    status: agent.status,
    epoch: agent.epoch,
    created_at: agent.createdAt.toISOString(),
    created_by: agent.createdBy,
    updated_at: agent.updatedAt.toISOString(),
    expires_at: agent.expiresAt?.toISOString() ?? null,
    disabled_at: agent.disabledAt?.toISOString() ?? null,
  };
}

function presentIdentity({ trustedIssuerId, subject, claims }: Identity) {
  return { trusted_issuer_id: trustedIssuerId, ...(subject === null ? {} : { subject }), claims };
}

/** Returns the identity of an agent that has only one, as the API shows it. */
function presentOnly(identities: readonly Identity[]) {
  const [first, second] = identities;
  return first === undefined || second !== undefined ? null : presentIdentity(first);
}

type Body = components['schemas']['AgentUpdate'];
type CredentialMembers = Pick<Body, 'jwks' | 'jwks_uri' | 'identity' | 'identities'>;

/** Reads from a body how the agent authenticates. Throws `invalid-request` if it has both `identity` and `identities`. */
function readCredential({
  jwks,
  jwks_uri: jwksUri,
  identity,
  identities,
}: CredentialMembers): CredentialTerms {
  if (identity !== undefined && identities !== undefined)
    throw new BrokerError('invalid-request', { detail: 'identity and identities cannot be used together' });
  const given = identity === undefined ? identities : [identity];
  return { jwks, jwksUri, identities: given?.map(readIdentity) };
}

function readIdentity(identity: components['schemas']['AgentIdentity']): Identity {
  const { trusted_issuer_id: trustedIssuerId, subject = null, claims = {} } = identity;
  return { trustedIssuerId, subject, claims: toCanonicalConditions(claims) };
}

/** Converts the members of a body to terms in camelCase. A member that is absent is undefined. */
function toTerms(body: Body) {
  const { token_endpoint_auth_method: authMethod, legacy_audience: legacyAudience, ...rest } = body;
  const { require_bound_tokens: requireBoundTokens, grants_on_demand: grantsOnDemand } = rest;
  const switches = { legacyAudience, requireBoundTokens, grantsOnDemand };
  const expiresAt = rest.expires_at === undefined ? undefined : toTime(rest.expires_at);
  return { ...readCredential(rest), authMethod, ...switches, expiresAt };
}

/** Parses a time of the contract. Null stays null. */
function toTime(text: string | null): Date | null {
  return text === null ? null : new Date(text);
}

type Operations =
  | 'createAgent'
  | 'listAgents'
  | 'getAgent'
  | 'updateAgent'
  | 'deleteAgent'
  | 'disableAgent'
  | 'enableAgent'
  | 'createAgentSecret'
  | 'revokeAgentSecret';

interface AgentRoutesDeps {
  agents: AgentsService;
  cursors: Cursors;
}

export function agentRoutes(deps: AgentRoutesDeps): Pick<Handlers, Operations> {
  return { ...recordRoutes(deps), ...actionRoutes(deps) };
}

function recordRoutes({ agents, cursors }: AgentRoutesDeps) {
  return {
    async createAgent({ body, ...act }) {
      const { name, owner, environment, labels = [], token_endpoint_auth_method: authMethod } = body;
      const { legacyAudience, requireBoundTokens, grantsOnDemand, expiresAt, ...credential } = toTerms(body);
      const agent = await agents.create(act, {
        ...credential,
        name,
        owner,
        environment,
        labels,
        authMethod,
        expiresAt: expiresAt ?? null,
        legacyAudience: legacyAudience ?? false,
        requireBoundTokens: requireBoundTokens ?? false,
        grantsOnDemand: grantsOnDemand ?? false,
      });
      const { clientSecret: client_secret } = agent;
      return {
        status: 201,
        body: { ...present(agent), ...(client_secret === undefined ? {} : { client_secret }) },
        headers: { Location: `/v1/agents/${agent.id}` },
      };
    },
    async listAgents({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('agents', cursor) ?? [];
      const page = await agents.list({ limit, after });
      const next_cursor = cursors.next('agents', page, (agent) => [agent.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getAgent({ path }) {
      const agent = await agents.get(path.agent_id);
      return { status: 200, body: { ...present(agent), secrets: agent.secrets.map(presentSecret) } };
    },
    async updateAgent({ path, body, ...act }) {
      const { name, owner, environment, labels } = body;
      const change = { name, owner, environment, labels, ...toTerms(body) };
      const agent = await agents.update(act, path.agent_id, change);
      return { status: 200, body: present(agent) };
    },
    async deleteAgent({ path, ...act }) {
      await agents.remove(act, path.agent_id);
      return { status: 204 };
    },
  } satisfies Partial<Handlers>;
}

function actionRoutes({ agents }: AgentRoutesDeps) {
  return {
    async disableAgent({ path, body, ...act }) {
      return { status: 200, body: present(await agents.disable(act, { id: path.agent_id, ...body })) };
    },
    async enableAgent({ path, body, ...act }) {
      return { status: 200, body: present(await agents.enable(act, { id: path.agent_id, ...body })) };
    },
    async createAgentSecret({ path, body, ...act }) {
      const expiresAt = toTime(body.expires_at ?? null);
      const issued = await agents.issueSecret(act, { agentId: path.agent_id, expiresAt });
      return { status: 201, body: presentIssued(issued) };
    },
    async revokeAgentSecret({ path, ...act }) {
      await agents.revokeSecret(act, { agentId: path.agent_id, secretId: path.secret_id });
      return { status: 204 };
    },
  } satisfies Partial<Handlers>;
}
