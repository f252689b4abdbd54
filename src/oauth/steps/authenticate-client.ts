import type { AuthenticatedClient } from '../../client-auth/authenticated-client.ts';
import { BrokerError } from '../../errors.ts';
import { countClient } from '../client-request.ts';
import { clientOf, type Step, type TokenCall } from '../grant-type.ts';

/** Authenticates the client. Throws `invalid-client`, `overloaded`. */
const authenticateClient: Step = ({ clients }, call, attempt) => {
  const client = clients.authenticate(call.credentials, attempt);
  if (client instanceof Promise) return waitForClient(call, client);
  call.client = client;
  return undefined;
};

async function waitForClient(call: TokenCall, client: Promise<AuthenticatedClient>): Promise<undefined> {
  call.client = await client;
}

/** Refuses resource servers, which get no tokens. Throws `unauthorized-client`. */
const refuseResourceServer: Step = (_, call) => {
  if (clientOf(call).kind !== 'agent') throw new BrokerError('unauthorized-client');
  return undefined;
};

/** Counts the request against the client's rate limit, before anything is written. Throws `RateLimited`. */
const countTokenRequest: Step = ({ limits }, call) => {
  countClient(limits, call, clientOf(call).id);
  return undefined;
};

/** The first steps of every token request: authenticate the client, refuse resource servers, count the request. */
export const openingSteps: readonly Step[] = [authenticateClient, refuseResourceServer, countTokenRequest];
