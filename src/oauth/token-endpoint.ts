import { BrokerError } from '../errors.ts';
import type { TokenResponse } from '../tokens/mint.ts';
import type { ClientRequest } from './client-request.ts';
import type { LimitedEndpoints } from './endpoints.ts';
import type { Step, TokenCall } from './grant-type.ts';
import { grantTypeOf, requireGrantType } from './grant-types.ts';
import { needsRecord, recordRefusal } from './record-refusal.ts';
import { emptyParameters } from './shape.ts';
import { openingSteps } from './steps/authenticate-client.ts';

/** The first attempt uses memory, the second the database; the third follows a change during the second. */
export const attempts = [{ fresh: false }, { fresh: true }, { fresh: true }];

/** Issues a token (RFC 6749 section 3.2). Appends an audit event if it refuses an authenticated client. */
export async function issueToken(
  endpoints: LimitedEndpoints,
  request: ClientRequest,
): Promise<TokenResponse> {
  const call = toTokenCall(request);
  const steps = parse(call, endpoints.issuer);
  try {
    for (const attempt of attempts) {
      let isDone = true;
      for (const step of steps) {
        const pending = step(endpoints, call, attempt);
        if (pending !== undefined && (await pending) === 'retry') {
          isDone = false;
          break;
        }
      }
      if (isDone) return toResponse(call);
    }
  } catch (error) {
    if (needsRecord(error)) {
      const { code, detail = null } = error;
      await recordRefusal(endpoints, call, { type: 'token.refused', details: { code, detail } });
    }
    throw error;
  } finally {
    call.leave?.();
  }
  throw new BrokerError('unavailable', {
    retryAfterSeconds: 1,
    internal: 'a change overtook every attempt of a token request',
  });
}

/** Makes the call in one object literal, because this is the hot path. */
function toTokenCall({ form, credentials, dpop, exchange, isCounted }: ClientRequest): TokenCall {
  return {
    form,
    credentials,
    dpop,
    exchange,
    isCounted,
    parameters: emptyParameters(),
    client: undefined,
    jkt: undefined,
    request: undefined,
    delegation: undefined,
    token: undefined,
    leave: undefined,
  };
}

/**
 * Checks the shape of the request and returns its steps. The client of a malformed request is authenticated as
 * well: an unknown client learns only that it is unknown, and the refusal of a known one gets an audit event.
 */
function parse(call: TokenCall, issuer: string): readonly Step[] {
  const { form, credentials, parameters } = call;
  try {
    const { shape, steps } = requireGrantType(form).checksOf(form, credentials);
    for (const check of shape) check(form, parameters, issuer);
    return steps;
  } catch (error) {
    const refuse: Step = () => {
      throw error;
    };
    return [...openingSteps, refuse];
  }
}

function toResponse({ token, parameters }: TokenCall): TokenResponse {
  if (token === undefined) throw new BrokerError('internal', { internal: 'no step minted a token' });
  const { issuedTokenType: issued_token_type } = parameters;
  return issued_token_type === undefined ? token : { ...token, issued_token_type };
}

/** Converts a failed authentication by the grant into the error of its grant type; other errors stay the same. */
export function toGrantError(error: unknown, { form, credentials }: ClientRequest): unknown {
  if (!(error instanceof BrokerError) || error.code !== 'invalid-client') return error;
  const authentication = grantTypeOf(form)?.authentication;
  const isGrant =
    credentials.method === 'client_assertion' && credentials.parameter === authentication?.parameter;
  if (authentication === undefined || !isGrant) return error;
  const { internal, cause, refusedToken } = error;
  const detail = 'the assertion is not valid';
  return new BrokerError(authentication.failure, {
    detail,
    cause,
    ...(internal === undefined ? {} : { internal }),
    ...(refusedToken === undefined ? {} : { refusedToken }),
  });
}
