import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import { type PublicKey, parseKeySet } from './key-set.ts';
import type { OutboundClient } from './outbound-client.ts';
import { OutboundFailure } from './outbound-failure.ts';

export interface KeySets {
  /**
   * The keys at `url` that have this `kid`; without one, all of them. None: the set has no such key. Throws
   * `OutboundFailure` when the set cannot be read and what was read before is too old.
   */
  find(url: string, kid: string | undefined): Promise<PublicKey[]>;
}

/** What was read is good without a further look for this long. */
const freshMs = 5 * 60_000;
/** While it cannot be read again, what was read is good for this long; then nothing is. */
const usableMs = 60 * 60_000;
/** A set is read no oftener than this, whatever is asked of it and whether or not it could be read. */
const betweenReadsMs = 30_000;
const maxSets = 1_000;

interface KeySet {
  keys: PublicKey[];
  /** When the reading began that brought the keys; undefined: none ever did. */
  readAt: number | undefined;
  /** When the last reading began. */
  triedAt: number;
  failure: OutboundFailure | undefined;
  reading: Promise<void> | undefined;
}

const without = (): KeySet => ({
  keys: [],
  readAt: undefined,
  triedAt: Number.NEGATIVE_INFINITY,
  failure: undefined,
  reading: undefined,
});

/** The key sets of others, in memory: a thousand of them, each read by one request at a time. */
export function createKeySets(deps: { client: Pick<OutboundClient, 'getJson'>; clock: Clock }): KeySets {
  const { client, clock } = deps;
  const sets = createBoundedCache<KeySet>({ maxEntries: maxSets });
  const now = (): number => clock.now().getTime();

  async function readInto(set: KeySet, url: string): Promise<void> {
    const begun = now();
    set.triedAt = begun;
    try {
      set.keys = parseKeySet(await client.getJson(url));
      set.readAt = begun;
      set.failure = undefined;
    } catch (error) {
      set.failure =
        error instanceof OutboundFailure ? error : new OutboundFailure('not-connected', { cause: error });
    } finally {
      set.reading = undefined;
    }
  }

  /** The reading that is under way, or a new one if it may begin. */
  function read(set: KeySet, url: string): Promise<void> | undefined {
    if (set.reading !== undefined) return set.reading;
    if (isWithin(set.triedAt, betweenReadsMs, now())) return undefined;
    set.reading = readInto(set, url);
    return set.reading;
  }

  return {
    async find(url, kid) {
      const set = sets.get(url) ?? without();
      sets.set(url, set);
      const known = matching(set, kid);
      if (known.length > 0 && isWithin(set.readAt, usableMs, now())) {
        // Nobody waits for what is likely the same: the next one has it.
        if (!isWithin(set.readAt, freshMs, now())) void read(set, url);
        return known;
      }
      await read(set, url);
      if (isWithin(set.readAt, usableMs, now())) return matching(set, kid);
      throw set.failure ?? new OutboundFailure('not-connected');
    },
  };
}

const matching = ({ keys }: KeySet, kid: string | undefined): PublicKey[] =>
  kid === undefined ? keys : keys.filter((key) => key.kid === kid);

/** Whether `then` is less than so long ago; a clock that was set back says nothing of that. */
function isWithin(then: number | undefined, lengthMs: number, now: number): boolean {
  return then !== undefined && now >= then && now - then < lengthMs;
}
