import { lookup, Resolver } from 'node:dns/promises';

/** Returns every address of a host name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const timeoutMs = 1_500;
/**
 * The errors of a name server after which the system resolver may still find the name: in the hosts file, or in a
 * search domain.
 */
const notFoundCodes = new Set(['ENOTFOUND', 'ENODATA', 'ECONNREFUSED', 'EREFUSED']);

/**
 * The system resolver blocks a thread of libuv's pool, which has four by default and is shared: it may use half of
 * them.
 */
const maxLookups = 2;

function limitConcurrency(limit: number, work: Resolve): Resolve {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (hostname) => {
    if (running >= limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running += 1;
    try {
      return await work(hostname);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}

const isNotFound = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && notFoundCodes.has(String(error.code));

/**
 * Creates a resolver that asks the name servers, so that a slow name does not delay others, and the system resolver
 * only for names that they do not know. Rejects if no address is found.
 */
export function createResolve(): Resolve {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
  const askSystem = limitConcurrency(maxLookups, async (hostname) =>
    (await lookup(hostname, { all: true, verbatim: true })).map(({ address }) => address),
  );
  return async (hostname) => {
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length > 0) return addresses;
    const reasons = answers.flatMap((answer) =>
      answer.status === 'rejected' ? [answer.reason as unknown] : [],
    );
    if (reasons.every(isNotFound)) return askSystem(hostname);
    throw reasons[0];
  };
}
