import { createClient } from '../generated/hey-api/client/index.ts';
import * as api from '../generated/hey-api/sdk.gen.ts';
import type { Caller, GeneratedClient } from '../generated-client.ts';

export function connect(baseUrl: string): GeneratedClient {
  const client = createClient({ baseUrl });
  const throwOnError = true;
  return {
    as: (credential) => callerOf(baseUrl, credential),
    issueToken: async (body) => (await api.issueToken({ client, throwOnError, body })).data,
    introspectToken: async (body) => (await api.introspectToken({ client, throwOnError, body })).data,
    async revokeToken(body) {
      await api.revokeToken({ client, throwOnError, body });
    },
  };
}

function callerOf(baseUrl: string, auth: string): Caller {
  const client = createClient({ baseUrl, auth });
  const throwOnError = true;
  return {
    createAdmin: async (body) => (await api.createAdmin({ client, throwOnError, body })).data,
    async createAdminKey(admin_id, body) {
      return (await api.createAdminKey({ client, throwOnError, path: { admin_id }, body })).data;
    },
    createResource: async (body) => (await api.createResource({ client, throwOnError, body })).data,
    createPolicy: async (body) => (await api.createPolicy({ client, throwOnError, body })).data,
    createAgent: async (body) => (await api.createAgent({ client, throwOnError, body })).data,
    createGrant: async (body) => (await api.createGrant({ client, throwOnError, body })).data,
    async requestDeniedGrant(body) {
      const { error } = await api.createGrant({ client, body });
      if (error === undefined || !('hints' in error)) throw new Error('not denied');
      return error;
    },
    async getGrant(grant_id, wait) {
      return (await api.getGrant({ client, throwOnError, path: { grant_id }, query: { wait } })).data;
    },
    async approveGrant(grant_id, body) {
      return (await api.approveGrant({ client, throwOnError, path: { grant_id }, body })).data;
    },
    async revokeGrant(grant_id, body) {
      return (await api.revokeGrant({ client, throwOnError, path: { grant_id }, body })).data;
    },
    async listEventTypes(grant_id) {
      const { data } = await api.listAuditEvents({ client, throwOnError, query: { grant_id } });
      return data.items.map(({ type }) => type);
    },
  };
}
