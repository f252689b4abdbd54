import type { GrantType } from '../grant-type.ts';
import { ownToken } from './client-credentials.ts';

export const jwtBearerGrant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/** The JWT bearer grant (RFC 7523 section 2.1): the assertion authenticates the client, and is the grant. */
export const jwtBearer: GrantType = {
  name: jwtBearerGrant,
  // RFC 7523 section 3.1: an invalid assertion is an invalid grant.
  authentication: { parameter: 'assertion', isRequired: true, failure: 'invalid-grant' },
  checksOf: () => ownToken,
};
