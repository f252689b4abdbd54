import type { Resource } from '../../resources/resource.ts';
import { signingAlgs } from '../clients/signed-jwt.ts';
import type { Issuer } from '../issuer.ts';
import { brokerScope } from '../token-request.ts';

/** Where the metadata of `/v1` is (RFC 9728 section 3): what a 401 of it points at. */
export function ownMetadataUrl(issuer: Issuer): string {
  return `${issuer}/.well-known/oauth-protected-resource`;
}

/** `/v1` as a protected resource (RFC 9728 section 2): only what is true. */
export function ownMetadata(issuer: Issuer) {
  return {
    // Broker tokens are for the issuer (RFC 8707), whatever of /v1 they are sent to.
    resource: issuer as string,
    authorization_servers: [issuer as string],
    scopes_supported: [brokerScope],
    bearer_methods_supported: ['header'],
    resource_name: 'Hallpass',
    resource_documentation: `${issuer}/openapi.json`,
    // An agent may have to show bound tokens, but not everybody who calls.
    dpop_bound_access_tokens_required: false,
    dpop_signing_alg_values_supported: [...signingAlgs],
  };
}

type Described = Pick<
  Resource,
  'identifier' | 'name' | 'scopes' | 'requireBoundTokens' | 'authorizationDetailsTypes'
>;

/**
 * A resource as RFC 9728 section 2 describes it, for whoever serves it. Which proofs it verifies is known only where every
 * token for it is bound: to a key of one of these algorithms.
 */
export function resourceMetadata(issuer: Issuer, resource: Described) {
  const { requireBoundTokens } = resource;
  const types = resource.authorizationDetailsTypes.map(({ type }) => type);
  return {
    // Exactly as registered: a client compares it with what it called, and `aud` has the same text.
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
