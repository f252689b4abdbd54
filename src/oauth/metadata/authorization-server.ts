import { builtInTypes } from '../../authorization-details/details-type.ts';
import { signingAlgs } from '../clients/signed-jwt.ts';
import type { Issuer } from '../issuer.ts';
import { grantTypes } from '../token-request.ts';

/** What this authorization server can do (RFC 8414 section 2): only what is true. */
export function serverMetadata(issuer: Issuer) {
  const authMethods = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
  return {
    issuer: issuer as string,
    // Nobody signs in there: some clients refuse metadata without it.
    authorization_endpoint: `${issuer}/oauth2/authorize`,
    token_endpoint: `${issuer}/oauth2/token`,
    token_endpoint_auth_methods_supported: authMethods,
    token_endpoint_auth_signing_alg_values_supported: signingAlgs,
    introspection_endpoint: `${issuer}/oauth2/introspect`,
    introspection_endpoint_auth_methods_supported: authMethods,
    introspection_endpoint_auth_signing_alg_values_supported: signingAlgs,
    revocation_endpoint: `${issuer}/oauth2/revoke`,
    revocation_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_signing_alg_values_supported: signingAlgs,
    dpop_signing_alg_values_supported: signingAlgs,
    // Those that any resource may take; others are a resource's own.
    authorization_details_types_supported: builtInTypes,
    jwks_uri: `${issuer}/oauth2/jwks`,
    grant_types_supported: grantTypes,
    // Required by RFC 8414; the authorization endpoint refuses every one.
    response_types_supported: [] as string[],
    service_documentation: `${issuer}/openapi.json`,
  };
}
