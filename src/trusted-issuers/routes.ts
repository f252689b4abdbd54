import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { TrustedIssuersService } from './service.ts';
import type { TrustedIssuer } from './trusted-issuer.ts';

function present(issuer: TrustedIssuer) {
  return {
    id: issuer.id,
    name: issuer.name,
    issuer: issuer.issuer,
    audience: issuer.audience,
    jwks: issuer.jwks,
    jwks_uri: issuer.jwksUri,
    claims: issuer.claims,
    tenant_claims: issuer.tenantClaims,
    subject_tokens: issuer.subjectTokens,
    created_at: issuer.createdAt.toISOString(),
    created_by: issuer.createdBy,
    updated_at: issuer.updatedAt.toISOString(),
    updated_by: issuer.updatedBy,
  };
}

type Operations =
  | 'createTrustedIssuer'
  | 'listTrustedIssuers'
  | 'getTrustedIssuer'
  | 'updateTrustedIssuer'
  | 'deleteTrustedIssuer';

export function trustedIssuerRoutes({
  trustedIssuers,
  cursors,
}: {
  trustedIssuers: TrustedIssuersService;
  cursors: Cursors;
}): Pick<Handlers, Operations> {
  return {
    async createTrustedIssuer({ body, ...act }) {
      const { name, issuer: iss, audience, jwks = null, jwks_uri: jwksUri = null, claims = {} } = body;
      const { tenant_claims: tenantClaims = [], subject_tokens: subjectTokens = false } = body;
      const terms = { name, issuer: iss, audience, jwks, jwksUri, claims, tenantClaims, subjectTokens };
      const issuer = await trustedIssuers.create(act, terms);
      const headers = { Location: `/v1/trusted-issuers/${issuer.id}` };
      return { status: 201, body: present(issuer), headers };
    },
    async listTrustedIssuers({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('trusted-issuers', cursor) ?? [];
      const page = await trustedIssuers.list({ limit, after });
      const next_cursor = cursors.next('trusted-issuers', page, (issuer) => [issuer.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getTrustedIssuer({ path }) {
      return { status: 200, body: present(await trustedIssuers.get(path.trusted_issuer_id)) };
    },
    async updateTrustedIssuer({ path, body, ...act }) {
      const { jwks_uri: jwksUri, subject_tokens: subjectTokens, tenant_claims: tenantClaims, ...rest } = body;
      const change = { ...rest, jwksUri, subjectTokens, tenantClaims };
      const issuer = await trustedIssuers.update(act, path.trusted_issuer_id, change);
      return { status: 200, body: present(issuer) };
    },
    async deleteTrustedIssuer({ path, ...act }) {
      await trustedIssuers.remove(act, path.trusted_issuer_id);
      return { status: 204 };
    },
  };
}
