import { builtInTypes } from '../../authorization-details/details-type.ts';
import { signingAlgs as clientAlgs } from '../../client-auth/signed-jwt.ts';
import { signingAlgs as tokenAlgs } from '../../crypto/algorithms.ts';
import type { Issuer } from '../../platform/issuer.ts';
import { grantTypes } from '../grant-types.ts';

/** Returns the metadata of this authorization server (RFC 8414 section 2). */
export function serverMetadata(issuer: Issuer) {
  const authMethods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
  return {
    issuer: issuer as string,
    // This endpoint refuses every request; some clients refuse metadata without it.
    authorization_endpoint: `${issuer}/oauth2/authorize`,
    token_endpoint: `${issuer}/oauth2/token`,
    token_endpoint_auth_methods_supported: authMethods,
    token_endpoint_auth_signing_alg_values_supported: clientAlgs,
    introspection_endpoint: `${issuer}/oauth2/introspect`,
    introspection_endpoint_auth_methods_supported: authMethods,
    introspection_endpoint_auth_signing_alg_values_supported: clientAlgs,
    revocation_endpoint: `${issuer}/oauth2/revoke`,
    revocation_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_signing_alg_values_supported: clientAlgs,
    dpop_signing_alg_values_supported: clientAlgs,
    // The types that every resource may accept; a resource's metadata names its own types.
    authorization_details_types_supported: builtInTypes,
    jwks_uri: `${issuer}/oauth2/jwks`,
    grant_types_supported: [...grantTypes.keys()],
    // RFC 8414 requires it, and section 3.2 forbids an empty array. The authorization endpoint issues nothing.
    response_types_supported: ['none'],
    service_documentation: `${issuer}/openapi.json`,
  };
}

/**
 * Returns the same metadata with the additional members that OpenID Connect Discovery 1.0 section 3 requires, because
 * clouds and strict clients find the keys of an issuer in this document. No ID token is issued: the algorithms are
 * those of the access tokens.
 */
export function openidConfiguration(issuer: Issuer) {
  return {
    ...serverMetadata(issuer),
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: tokenAlgs,
  };
}
