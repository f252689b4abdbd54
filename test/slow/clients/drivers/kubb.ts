import type { Client } from '../generated/kubb/.kubb/fetch.ts';
import * as api from '../generated/kubb/index.ts';
import type { Caller, GeneratedClient } from '../generated-client.ts';

/** An error response. Kubb's functions do not declare its type, but the generated code has a type for each error. */
class ErrorAnswer extends Error {
  readonly data: unknown;

  constructor(data: unknown) {
    super(JSON.stringify(data));
    this.data = data;
  }
}

/**
 * Creates a transport for Kubb's functions. Kubb's own one sends every body as JSON, and returns an error like a
 * success.
 */
function clientOf(baseUrl: string, credential?: string): Client {
  return async ({ url, method = 'GET', data, params, headers = {} }) => {
    const query = new URLSearchParams((params ?? {}) as Record<string, string>);
    const request = new Headers(headers);
    if (credential !== undefined) request.set('Authorization', `Bearer ${credential}`);
    const isForm = request.get('Content-Type') === 'application/x-www-form-urlencoded';
    if (data !== undefined && !isForm) request.set('Content-Type', 'application/json');
    const form = new URLSearchParams((data ?? {}) as Record<string, string>);
    const body = data === undefined ? null : isForm ? form : JSON.stringify(data);
    const response = await fetch(`${baseUrl}${url}?${query}`, { method, body, headers: request });
    const text = await response.text();
    const answer = text === '' ? undefined : JSON.parse(text);
    if (!response.ok) throw new ErrorAnswer(answer);
    const { status, statusText } = response;
    return { data: answer, status, statusText, headers: response.headers };
  };
}

export function connect(baseUrl: string): GeneratedClient {
  const config = { client: clientOf(baseUrl) };
  return {
    as: (credential) => callerOf(clientOf(baseUrl, credential)),
    issueToken: async (form) => (await api.issueToken(form, {}, config)).data,
    introspectToken: async (form) => (await api.introspectToken(form, config)).data,
    async revokeToken(form) {
      await api.revokeToken(form, config);
    },
  };
}

function callerOf(client: Client): Caller {
  const config = { client };
  return {
    createAdmin: async (body) => (await api.createAdmin(body, config)).data,
    createAdminKey: async (id, body) => (await api.createAdminKey(id, body, config)).data,
    createResource: async (body) => (await api.createResource(body, config)).data,
    createPolicy: async (body) => (await api.createPolicy(body, config)).data,
    createAgent: async (body) => (await api.createAgent(body, config)).data,
    createGrant: async (body) => (await api.createGrant(body, {}, config)).data,
    async requestDeniedGrant(body) {
      try {
        await api.createGrant(body, {}, config);
      } catch (error) {
        if (error instanceof ErrorAnswer) return error.data as api.CreateGrant403;
        throw error;
      }
      throw new Error('not denied');
    },
    getGrant: async (id, wait) => (await api.getGrant(id, { wait }, {}, config)).data,
    approveGrant: async (id, body) => (await api.approveGrant(id, body, config)).data,
    revokeGrant: async (id, body) => (await api.revokeGrant(id, body, config)).data,
    async listEventTypes(grant_id) {
      const { data } = await api.listAuditEvents({ grant_id }, config);
      return data.items.map(({ type }) => type);
    },
  };
}
