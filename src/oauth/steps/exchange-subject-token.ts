import { BrokerError } from '../../errors.ts';
import { identifyClient } from '../client-request.ts';
import type { LimitedEndpoints } from '../endpoints.ts';
import { clientOf, type Step, type TokenCall } from '../grant-type.ts';
import { exchangeToken } from '../token-exchange/exchange.ts';
import type { Exchanged, ExchangeRequest } from '../token-exchange/exchange-call.ts';
import { mintToken } from './mint-token.ts';

/** Admits the exchange, once for each request, unless too many are running. Throws `overloaded`. */
export const admitExchange: Step = ({ exchanging }, call) =>
  call.leave === undefined ? enter(exchanging, call) : undefined;

async function enter(exchanging: LimitedEndpoints['exchanging'], call: TokenCall): Promise<undefined> {
  call.leave = await exchanging.enter(clientOf(call).id);
}

/** In the first attempt, repeats an exchange from memory. Leaves any other exchange to the next attempt. */
export const recallExchange: Step = ({ exchange: { known } }, call, { fresh }) => {
  if (fresh) return undefined;
  const exchanged = known.recall({ client: clientOf(call), request: toExchangeRequest(call) });
  if (exchanged === undefined) return 'retry';
  setExchanged(call, exchanged);
  return undefined;
};

/** Exchanges the subject token, unless its result came from memory. See `exchangeToken`. */
export const exchangeSubjectToken: Step = (endpoints, call, { fresh }) =>
  fresh ? exchange(endpoints, call) : undefined;

async function exchange({ exchange, limits }: LimitedEndpoints, call: TokenCall): Promise<undefined> {
  const client = clientOf(call);
  identifyClient(limits, call, client.id);
  const request = toExchangeRequest(call);
  setExchanged(
    call,
    await exchangeToken(exchange, { client, origin: call.exchange, jkt: call.jkt, request }),
  );
}

/** Mints the token. If the grant came from memory and has ended, the next attempt reads the database. */
export const mintExchangedToken: Step = async (endpoints, call, attempt) => {
  try {
    return await mintToken(endpoints, call, attempt);
  } catch (error) {
    if (attempt.fresh || !(error instanceof BrokerError) || error.code !== 'invalid-grant') throw error;
    return 'retry';
  }
};

function toExchangeRequest({ form, parameters }: TokenCall): ExchangeRequest {
  const { resource, scopes, authorizationDetails, mayAct } = parameters;
  return {
    resource,
    scopes,
    authorizationDetails,
    mayAct,
    subjectToken: form.get('subject_token') ?? '',
    actorToken: form.get('actor_token'),
  };
}

function setExchanged(call: TokenCall, { request, delegation }: Exchanged): void {
  call.request = request;
  call.delegation = delegation;
}
