import { lookup, Resolver } from 'node:dns/promises';

/** Every address of a name. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const timeoutMs = 1_500;
/** What a name server says of a name that may be found elsewhere: in the hosts file, or with a search domain behind it. */
const elsewhere = new Set(['ENOTFOUND', 'ENODATA', 'ECONNREFUSED', 'EREFUSED']);

/** The system's own way blocks a thread of a pool of four that everything shares: it may have half of it. */
const atATime = 2;

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

const isElsewhere = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && elsewhere.has(String(error.code));

/**
 * Asks the name servers, over which no slow name holds up another; and the system only for what they do not know. Rejects
 * if there is no answer.
 */
export function createResolve(): Resolve {
  const resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
  const askSystem = limitConcurrency(atATime, async (hostname) =>
    (await lookup(hostname, { all: true, verbatim: true })).map(({ address }) => address),
  );
  return async (hostname) => {
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
    const addresses = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    if (addresses.length > 0) return addresses;
    const reasons = answers.flatMap((answer) =>
      answer.status === 'rejected' ? [answer.reason as unknown] : [],
    );
    if (reasons.every(isElsewhere)) return askSystem(hostname);
    throw reasons[0];
  };
}
