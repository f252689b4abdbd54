import { Api } from '../generated/swagger-typescript-api/client.ts';
import type { Caller, GeneratedClient } from '../generated-client.ts';

export function connect(baseUrl: string): GeneratedClient {
  const { oauth2 } = new Api({ baseUrl });
  return {
    as: (credential) => callerOf(baseUrl, credential),
    issueToken: async (form) => (await oauth2.issueToken(form)).data,
    introspectToken: async (form) => (await oauth2.introspectToken(form)).data,
    async revokeToken(form) {
      await oauth2.revokeToken(form);
    },
  };
}

function callerOf(baseUrl: string, credential: string): Caller {
  const headers = { Authorization: `Bearer ${credential}` };
  const { v1 } = new Api({ baseUrl, baseApiParams: { headers } });
  return {
    createAdmin: async (body) => (await v1.createAdmin(body)).data,
    createAdminKey: async (id, body) => (await v1.createAdminKey(id, body)).data,
    createResource: async (body) => (await v1.createResource(body)).data,
    createPolicy: async (body) => (await v1.createPolicy(body)).data,
    createAgent: async (body) => (await v1.createAgent(body)).data,
    createGrant: async (body) => (await v1.createGrant(body)).data,
    async requestDeniedGrant(body) {
      const { error } = await v1
        .createGrant(body)
        .catch((answer: Awaited<ReturnType<typeof v1.createGrant>>) => answer);
      if (error === null || !('hints' in error)) throw new Error('not denied');
      return error;
    },
    getGrant: async (id, wait) => (await v1.getGrant(id, { wait })).data,
    approveGrant: async (id, body) => (await v1.approveGrant(id, body)).data,
    revokeGrant: async (id, body) => (await v1.revokeGrant(id, body)).data,
    async listEventTypes(grant_id) {
      const { data } = await v1.listAuditEvents({ grant_id });
      return data.items.map(({ type }) => type);
    },
  };
}
