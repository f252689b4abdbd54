import * as api from '../generated/orval/client.ts';
import type { Caller, GeneratedClient } from '../generated-client.ts';
import { setBaseUrl } from './orval-fetch.ts';

export function connect(baseUrl: string): GeneratedClient {
  setBaseUrl(baseUrl);
  return {
    as: callerOf,
    issueToken: async (form) => need(await api.issueToken(form), 200),
    introspectToken: async (form) => need(await api.introspectToken(form), 200),
    async revokeToken(form) {
      const { status } = await api.revokeToken(form);
      if (status !== 200) throw new Error(`status ${status}`);
    },
  };
}

/** Narrows the type of a response to that of the given status. Throws for any other status. */
function need<A extends { status: number; data: unknown }, S extends A['status']>(
  answer: A,
  status: S,
): Extract<A, { status: S }>['data'] {
  if (answer.status !== status) throw new Error(JSON.stringify(answer.data));
  return answer.data;
}

function callerOf(credential: string): Caller {
  const as = { headers: { Authorization: `Bearer ${credential}` } };
  return {
    createAdmin: async (body) => need(await api.createAdmin(body, as), 201),
    createAdminKey: async (id, body) => need(await api.createAdminKey(id, body, as), 201),
    createResource: async (body) => need(await api.createResource(body, as), 201),
    createPolicy: async (body) => need(await api.createPolicy(body, as), 201),
    createAgent: async (body) => need(await api.createAgent(body, as), 201),
    async createGrant(body) {
      const answer = await api.createGrant(body, as);
      if (answer.status === 201 || answer.status === 202) return answer.data;
      throw new Error(JSON.stringify(answer.data));
    },
    requestDeniedGrant: async (body) => need(await api.createGrant(body, as), 403),
    getGrant: async (id, wait) => need(await api.getGrant(id, { wait }, as), 200),
    approveGrant: async (id, body) => need(await api.approveGrant(id, body, as), 200),
    revokeGrant: async (id, body) => need(await api.revokeGrant(id, body, as), 200),
    async listEventTypes(grant_id) {
      const { items } = need(await api.listAuditEvents({ grant_id }, as), 200);
      return items.map(({ type }) => type);
    },
  };
}
