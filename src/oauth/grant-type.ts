import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import type { ClientCredentials, GrantAuthentication } from '../client-auth/client-credentials.ts';
import { BrokerError, type ErrorCode } from '../errors.ts';
import type { Delegation } from '../grants/delegation.ts';
import type { Form } from '../http/form-encoding.ts';
import type { TokenResponse } from '../tokens/mint.ts';
import type { TokenRequest } from '../tokens/token-request.ts';
import type { ClientRequest } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';
import type { ShapeCheck, TokenParameters } from './shape.ts';

/** A token request in progress. Each step adds its result; every attempt starts again with the first step. */
export interface TokenCall extends ClientRequest {
  parameters: TokenParameters;
  /** Set by `authenticateClient`. */
  client: AuthenticatedClient | undefined;
  /** The thumbprint of the client's DPoP key; set by `proveKey`, undefined for a bearer token. */
  jkt: string | undefined;
  /** The request for a token, set by the step that makes it from the parameters. */
  request: TokenRequest | undefined;
  /** The subject and the actors of the token, if an exchange sets them. */
  delegation: Delegation | undefined;
  /** Set by `mintToken`. */
  token: TokenResponse | undefined;
  /** Frees the place among the running exchanges; called when the request has been answered. */
  leave: (() => void) | undefined;
}

export interface Attempt {
  /** Whether the steps must read the database instead of memory. */
  fresh: boolean;
}

/**
 * A step of a token request: one check or one effect. Returns `retry` if memory was out of date: the next
 * attempt reads the database. Returns a promise only if it has to wait: this is the hot path.
 */
export type Step = (
  endpoints: LimitedEndpoints,
  call: TokenCall,
  attempt: Attempt,
) => Promise<'retry' | undefined> | 'retry' | undefined;

/** The checks of a request, in order: those of its form, then those that need its client. */
export interface Checks {
  shape: readonly ShapeCheck[];
  steps: readonly Step[];
}

export interface GrantType {
  name: string;
  /** The client authentication by the grant itself, for grant types that have one. */
  authentication?: GrantAuthentication & {
    /** The error of a grant that does not authenticate its client. */
    failure: ErrorCode;
  };
  /** Returns the checks of a request, which may depend on how its client authenticates. */
  checksOf: (form: Form, credentials: ClientCredentials) => Checks;
}

/** Returns the client that `authenticateClient` has set. */
export function clientOf({ client }: TokenCall): AuthenticatedClient {
  if (client === undefined) throw new BrokerError('internal', { internal: 'a step ran before its client' });
  return client;
}
