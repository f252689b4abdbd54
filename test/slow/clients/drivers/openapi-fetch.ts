import createClient from 'openapi-fetch';
import type { paths } from '../generated/openapi-fetch/schema.ts';
import type { Caller, GeneratedClient } from '../generated-client.ts';

export function connect(baseUrl: string): GeneratedClient {
  const client = createClient<paths>({
    baseUrl,
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
  });
  return {
    as: (credential) => callerOf(baseUrl, credential),
    issueToken: async (body) => need(await client.POST('/oauth2/token', { body })),
    introspectToken: async (body) => need(await client.POST('/oauth2/introspect', { body })),
    async revokeToken(body) {
      const { error } = await client.POST('/oauth2/revoke', { body });
      if (error !== undefined) throw new Error(error.error);
    },
  };
}

function need<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

function callerOf(baseUrl: string, credential: string): Caller {
  const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${credential}` } });
  return {
    createAdmin: async (body) => need(await client.POST('/v1/admins', { body })),
    async createAdminKey(admin_id, body) {
      const params = { path: { admin_id } };
      return need(await client.POST('/v1/admins/{admin_id}/keys', { params, body }));
    },
    createResource: async (body) => need(await client.POST('/v1/resources', { body })),
    createPolicy: async (body) => need(await client.POST('/v1/policies', { body })),
    createAgent: async (body) => need(await client.POST('/v1/agents', { body })),
    createGrant: async (body) => need(await client.POST('/v1/grants', { body })),
    async requestDeniedGrant(body) {
      const { error } = await client.POST('/v1/grants', { body });
      if (error === undefined || !('hints' in error)) throw new Error('not denied');
      return error;
    },
    async getGrant(grant_id, wait) {
      const params = { path: { grant_id }, query: { wait } };
      return need(await client.GET('/v1/grants/{grant_id}', { params }));
    },
    async approveGrant(grant_id, body) {
      const params = { path: { grant_id } };
      return need(await client.POST('/v1/grants/{grant_id}/approve', { params, body }));
    },
    async revokeGrant(grant_id, body) {
      const params = { path: { grant_id } };
      return need(await client.POST('/v1/grants/{grant_id}/revoke', { params, body }));
    },
    async listEventTypes(grant_id) {
      const { items } = need(await client.GET('/v1/audit-events', { params: { query: { grant_id } } }));
      return items.map(({ type }) => type);
    },
  };
}
