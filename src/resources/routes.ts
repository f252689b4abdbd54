import { presentIssued, presentSecret } from '../client-secrets/present.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import { presentConnection, presentPreflight, presentScope, toConnectionInput, toScope } from './present.ts';
import type { Resource } from './resource.ts';
import type { ResourcesService } from './service.ts';

function present(resource: Resource) {
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
    epoch: resource.epoch,
    created_at: resource.createdAt.toISOString(),
    created_by: resource.createdBy,
    updated_at: resource.updatedAt.toISOString(),
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
}

export function resourceRoutes({ resources, cursors }: ResourceRoutesDeps): Pick<Handlers, Operations> {
  return {
    async createResource({ body, ...act }) {
      const { identifier, kind, name, scopes, max_grant_seconds: maxGrantSeconds } = body;
      const required = { identifier, kind, name, scopes: scopes.map(toScope), maxGrantSeconds };
      const resource = await resources.create(act, { ...toChange(body), ...required });
      return {
        status: 201,
        body: present(resource),
        headers: { Location: `/v1/resources/${resource.id}` },
      };
    },
    async listResources({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('resources', cursor) ?? [];
      const page = await resources.list({ limit, after });
      const next_cursor = cursors.next('resources', page, (resource) => [resource.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getResource({ path }) {
      const resource = await resources.get(path.resource_id);
      return { status: 200, body: { ...present(resource), secrets: resource.secrets.map(presentSecret) } };
    },
    async updateResource({ path, body, ...act }) {
      const resource = await resources.update(act, path.resource_id, toChange(body));
      return { status: 200, body: present(resource) };
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
