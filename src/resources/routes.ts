import { presentIssued, presentSecret } from '../client-secrets/present.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import { presentConnection, presentPreflight, presentScope, toConnectionInput, toScope } from './present.ts';
import type { Resource } from './resource.ts';
import type { ResourceDetail, ResourcesService } from './service.ts';
import { presentCredential, presentUpstream, toNewUpstream, toUpstreamTerms } from './upstreams/present.ts';

function present(resource: Resource, gatewayUrl: string | undefined) {
  return {
    id: resource.id,
    identifier: resource.identifier,
    name: resource.name,
    kind: resource.kind,
    labels: resource.labels,
    scopes: resource.scopes.map(presentScope),
    max_grant_seconds: resource.maxGrantSeconds,
    token_ttl_seconds: resource.tokenTtlSeconds,
    token_alg: resource.tokenAlg,
    require_bound_tokens: resource.requireBoundTokens,
    authorization_details_types: resource.authorizationDetailsTypes,
    connection: presentConnection(resource.connection),
    preflight: presentPreflight(resource.preflight),
    ...presentUpstream(resource.upstream, gatewayUrl),
    epoch: resource.epoch,
    created_at: resource.createdAt.toISOString(),
    created_by: resource.createdBy,
    updated_at: resource.updatedAt.toISOString(),
  };
}

function presentSecrets({ secrets, upstreamCredentials }: ResourceDetail) {
  return {
    secrets: secrets.map(presentSecret),
    upstream_credentials: upstreamCredentials.map(presentCredential),
  };
}

interface Terms {
  name?: string;
  labels?: string[];
  scopes?: Parameters<typeof toScope>[0][];
  max_grant_seconds?: number;
  token_ttl_seconds?: number;
  token_alg?: Resource['tokenAlg'];
  require_bound_tokens?: boolean;
  authorization_details_types?: Resource['authorizationDetailsTypes'];
  connection?: Parameters<typeof toConnectionInput>[0];
  upstream?: Parameters<typeof toUpstreamTerms>[0];
}

/** Converts a body of the contract to the terms that may change; identifier and kind may not. */
function toChange({ name, labels, scopes, ...rest }: Terms) {
  return {
    name,
    labels,
    scopes: scopes?.map(toScope),
    maxGrantSeconds: rest.max_grant_seconds,
    tokenTtlSeconds: rest.token_ttl_seconds,
    tokenAlg: rest.token_alg,
    requireBoundTokens: rest.require_bound_tokens,
    authorizationDetailsTypes: rest.authorization_details_types,
    connection: rest.connection === undefined ? undefined : toConnectionInput(rest.connection),
    upstream: rest.upstream === undefined ? undefined : toUpstreamTerms(rest.upstream),
  };
}

type Operations =
  | 'createResource'
  | 'listResources'
  | 'getResource'
  | 'updateResource'
  | 'deleteResource'
  | 'createResourceSecret'
  | 'revokeResourceSecret';

interface ResourceRoutesDeps {
  resources: ResourcesService;
  cursors: Cursors;
  /** The origin of the gateway, if there is one. */
  gatewayUrl: string | undefined;
}

export function resourceRoutes({
  resources,
  cursors,
  gatewayUrl,
}: ResourceRoutesDeps): Pick<Handlers, Operations> {
  const show = (resource: Resource) => present(resource, gatewayUrl);
  return {
    async createResource({ body, ...act }) {
      const { identifier, kind, name, scopes, max_grant_seconds: maxGrantSeconds, slug } = body;
      const required = { identifier, kind, name, scopes: scopes.map(toScope), maxGrantSeconds, slug };
      const upstream = body.upstream === undefined ? undefined : toNewUpstream(body.upstream);
      const resource = await resources.create(act, { ...toChange(body), ...required, upstream });
      return {
        status: 201,
        body: show(resource),
        headers: { Location: `/v1/resources/${resource.id}` },
      };
    },
    async listResources({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('resources', cursor) ?? [];
      const page = await resources.list({ limit, after });
      const next_cursor = cursors.next('resources', page, (resource) => [resource.id]);
      return { status: 200, body: { items: page.items.map(show), next_cursor } };
    },
    async getResource({ path }) {
      const resource = await resources.get(path.resource_id);
      return { status: 200, body: { ...show(resource), ...presentSecrets(resource) } };
    },
    async updateResource({ path, body, ...act }) {
      const resource = await resources.update(act, path.resource_id, toChange(body));
      return { status: 200, body: show(resource) };
    },
    async deleteResource({ path, ...act }) {
      await resources.remove(act, path.resource_id);
      return { status: 204 };
    },
    async createResourceSecret({ path, body, ...act }) {
      const expiresAt = body.expires_at === undefined ? null : new Date(body.expires_at);
      const issued = await resources.issueSecret(act, { resourceId: path.resource_id, expiresAt });
      return { status: 201, body: presentIssued(issued) };
    },
    async revokeResourceSecret({ path, ...act }) {
      await resources.revokeSecret(act, { resourceId: path.resource_id, secretId: path.secret_id });
      return { status: 204 };
    },
  };
}
