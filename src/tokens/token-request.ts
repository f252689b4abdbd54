import type { Detail } from '../authorization-details/details-type.ts';

/** The scope of broker tokens. */
export const brokerScope = 'hallpass';

/** A request for a broker token, whose audience is the API of this server. */
export interface BrokerRequest {
  kind: 'broker';
  mayAct?: undefined;
}

/** A request for an access token, whose audience is a resource. */
export interface AccessRequest {
  kind: 'access';
  resource: string;
  /**
   * The requested scopes, distinct and in the requested order; undefined if the request names none, which means all
   * scopes of the only active grant.
   */
  scopes: string[] | undefined;
  grantId: string | undefined;
  /** The requested details; undefined if the request names none, which means all details of the grant. */
  authorizationDetails: Detail[] | undefined;
  /** The agent that may act for the client with the token (RFC 8693 section 4.4). */
  mayAct?: string | undefined;
}

/** Limits that a token inherits from the token or assertion for which it is issued. */
export interface InheritedLimits {
  /** The latest expiry of the token. */
  notAfter?: Date;
  /** The subject token's id and those of the tokens that it was issued for: revoking any of them ends the token. */
  subjects?: string[];
  /**
   * Whether the grant was read from memory. If so, the mint statement checks that no person has revoked a grant of
   * the same exchange.
   */
  isRepeated?: boolean;
  /** The trusted issuer of the subject token, and its epoch when that token was verified. */
  subjectIssuer?: { id: string; epoch: number };
}

/** A valid request for a token. */
export type TokenRequest = (BrokerRequest | AccessRequest) & InheritedLimits;
