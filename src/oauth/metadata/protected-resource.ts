import { signingAlgs } from '../../client-auth/signed-jwt.ts';
import type { Issuer } from '../../platform/issuer.ts';
import type { Resource } from '../../resources/resource.ts';
import { brokerScope } from '../../tokens/token-request.ts';

/** Returns the URL of the metadata of `/v1` (RFC 9728 section 3), which its 401 answers name. */
export function ownMetadataUrl(issuer: Issuer): string {
  return `${issuer}/.well-known/oauth-protected-resource`;
}

/** Returns the metadata of `/v1` as a protected resource (RFC 9728 section 2). */
export function ownMetadata(issuer: Issuer) {
  return {
    // Broker tokens have the issuer as audience (RFC 8707), for all of /v1.
    resource: issuer as string,
    authorization_servers: [issuer as string],
    scopes_supported: [brokerScope],
    bearer_methods_supported: ['header'],
    resource_name: 'Hallpass',
    resource_documentation: `${issuer}/openapi.json`,
    // Only some agents must use bound tokens.
    dpop_bound_access_tokens_required: false,
    dpop_signing_alg_values_supported: [...signingAlgs],
  };
}

type Described = Pick<
  Resource,
  'identifier' | 'name' | 'scopes' | 'requireBoundTokens' | 'authorizationDetailsTypes'
>;

/**
 * Returns the metadata of a resource (RFC 9728 section 2), for the resource server to publish.
 * It names algorithms of DPoP proofs only if every token for the resource must be bound.
 */
export function resourceMetadata(issuer: Issuer, resource: Described) {
  const { requireBoundTokens } = resource;
  const types = resource.authorizationDetailsTypes.map(({ type }) => type);
  return {
    // Exactly as registered: clients compare it with the URL they called, and with `aud`.
    resource: resource.identifier,
    authorization_servers: [issuer as string],
    scopes_supported: resource.scopes.map(({ name }) => name),
    bearer_methods_supported: ['header'],
    ...(types.length === 0 ? {} : { authorization_details_types_supported: types }),
    resource_name: resource.name,
    dpop_bound_access_tokens_required: requireBoundTokens,
    ...(requireBoundTokens ? { dpop_signing_alg_values_supported: [...signingAlgs] } : {}),
  };
}
