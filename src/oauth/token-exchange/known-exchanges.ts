import { sha256 } from '../../crypto/hash.ts';
import { createBoundedCache } from '../../platform/bounded-cache.ts';
import type { Clock } from '../../platform/clock.ts';
import { usableUntil } from '../../tokens/token-expiry.ts';
import type { ExchangeCall, Exchanged } from './exchange-call.ts';

/** An exchange: its client and its request. */
type ClientExchange = Pick<ExchangeCall, 'client' | 'request'>;

export interface KnownExchanges {
  /** Returns the result of the same exchange by the same client; undefined if it is not known or has expired. */
  recall(exchange: ClientExchange): Exchanged | undefined;
  remember(exchange: ClientExchange, exchanged: Exchanged): void;
}

/** The maximum size of the cache, in bytes of JSON. */
const maxCacheBytes = 16 * 1024 * 1024;

/**
 * Remembers the exchanges that delegated a grant, so that a repeated exchange needs no look-up. Invariant: the statement that
 * writes the token checks that the delegated grant is active, and a grant ends with the subject token that it was delegated
 * for. So memory may name a grant that has ended, but no token is issued under it.
 */
export function createKnownExchanges({ clock }: { clock: Clock }): KnownExchanges {
  const known = createBoundedCache<Exchanged>({
    weigh: (exchanged) => JSON.stringify(exchanged).length,
    maxWeight: maxCacheBytes,
  });
  return {
    recall(exchange) {
      if (!isSimple(exchange.request)) return undefined;
      const exchanged = known.get(keyOf(exchange));
      const notAfter = exchanged?.request.notAfter;
      if (exchanged === undefined || notAfter === undefined) return undefined;
      if (notAfter < usableUntil(clock.now())) return undefined;
      const { mayAct } = exchange.request;
      return { ...exchanged, request: { ...exchanged.request, mayAct, isRepeated: true } };
    },
    remember(exchange, exchanged) {
      // Which details are valid depends on the resource, which may change: they are checked each time.
      if (!isSimple(exchange.request) || exchanged.request.authorizationDetails !== undefined) return;
      // A copy: the strings of a request are slices that keep its whole body in memory.
      known.set(keyOf(exchange), structuredClone(exchanged));
    },
  };
}

/** Whether only the subject token has to be checked, which the mint statement does. */
function isSimple({ actorToken, authorizationDetails }: ClientExchange['request']): boolean {
  return actorToken === undefined && authorizationDetails === undefined;
}

/** Makes the cache key: a digest of all that determines the result except `may_act`, which the request sets. */
function keyOf({ client, request }: ClientExchange): string {
  const { subjectToken, resource, scopes } = request;
  const all = [client.id, subjectToken, resource, scopes];
  // JSON has null for undefined, which is unambiguous because no member of a request is null.
  return sha256(JSON.stringify(all)).toString('base64url');
}
