import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import { type PublicKey, parseKeySet } from './key-set.ts';
import { discoveryUrl } from './key-source.ts';
import type { OutboundClient } from './outbound-client.ts';
import { OutboundFailure } from './outbound-failure.ts';

/** The location of a key set: a URL, or an issuer whose metadata has that URL (OpenID Connect Discovery section 4). */
export type KeySetPlace = { uri: string } | { discovery: string };

export interface KeySets {
  /**
   * Returns the keys at `place` that have this `kid`, or all keys if `kid` is undefined. An empty result means that
   * the set has no matching key. Throws `OutboundFailure` if the set cannot be read and the copy in memory is too
   * old.
   */
  find(place: KeySetPlace, kid: string | undefined): Promise<PublicKey[]>;
  /** Returns the number of reads since the start by outcome: `read`, or the problem. */
  readings(): ReadonlyMap<string, number>;
}

/**
 * A copy is used without another read until `freshMs` after it was read. From `earlyMs` on, a use starts a new read
 * in the background.
 */
const freshMs = 5 * 60_000;
const earlyMs = 4 * 60_000;
/** How long a copy is used while reading it again fails. */
const usableMs = 60 * 60_000;
/** The shortest time between two reads of a set, whether or not the first succeeded. */
const betweenReadsMs = 30_000;
/** The size of the cache, in sets and in keys. The least recently used sets are dropped. */
const kept = { maxEntries: 10_000, maxWeight: 50_000 };

interface KeySet {
  keys: PublicKey[];
  /** When the read began that returned `keys`; undefined if no read has succeeded. */
  readAt: number | undefined;
  /** When the last read began. */
  triedAt: number;
  failure: OutboundFailure | undefined;
  reading: Promise<void> | undefined;
}

const emptyKeySet = (): KeySet => ({
  keys: [],
  readAt: undefined,
  triedAt: Number.NEGATIVE_INFINITY,
  failure: undefined,
  reading: undefined,
});

export interface KeySetsDeps {
  client: Pick<OutboundClient, 'getJson'>;
  clock: Clock;
  /** Called after every failed read: at most once in 30 s for each set. */
  onFailure: (place: KeySetPlace, failure: OutboundFailure) => void;
}

function createTally() {
  const counted = new Map<string, number>();
  return {
    counted: counted as ReadonlyMap<string, number>,
    count: (what: string): void => void counted.set(what, (counted.get(what) ?? 0) + 1),
  };
}

/** Creates the cache of other parties' key sets. Requests share one read of a set at a time. */
export function createKeySets({ client, clock, onFailure }: KeySetsDeps): KeySets {
  const sets = createBoundedCache<KeySet>({ ...kept, weigh: ({ keys }) => keys.length });
  const now = (): number => clock.now().getTime();
  const readings = createTally();

  async function readInto(set: KeySet, place: KeySetPlace): Promise<void> {
    const begun = now();
    set.triedAt = begun;
    try {
      const uri = 'uri' in place ? place.uri : await discover(client, place.discovery);
      set.keys = parseKeySet(await client.getJson(uri));
      set.readAt = begun;
      set.failure = undefined;
      readings.count('read');
    } catch (error) {
      set.failure = toFailure(error);
      readings.count(set.failure.problem);
      onFailure(place, set.failure);
    } finally {
      set.reading = undefined;
    }
  }

  /** Returns the current read, or starts one; undefined if the last read began less than 30 s ago. */
  function read(set: KeySet, place: KeySetPlace): Promise<void> | undefined {
    if (set.reading !== undefined) return set.reading;
    if (isWithin(set.triedAt, betweenReadsMs, now())) return undefined;
    set.reading = readInto(set, place);
    return set.reading;
  }

  return {
    readings: () => readings.counted,
    async find(place, kid) {
      const name = nameOf(place);
      const set = sets.get(name) ?? emptyKeySet();
      sets.set(name, set);
      const known = matching(set, kid);
      if (known.length > 0 && isWithin(set.readAt, freshMs, now())) {
        // The caller does not wait: the keys are probably the same, and the next caller gets the new ones.
        if (!isWithin(set.readAt, earlyMs, now())) void read(set, place);
        return known;
      }
      await read(set, place);
      sets.set(name, set); // Updates its weight in the cache.
      if (isWithin(set.readAt, usableMs, now())) return matching(set, kid);
      throw set.failure ?? new OutboundFailure('not-connected');
    },
  };
}

const toFailure = (error: unknown): OutboundFailure =>
  error instanceof OutboundFailure ? error : new OutboundFailure('not-connected', { cause: error });

const nameOf = (place: KeySetPlace): string =>
  'uri' in place ? `uri ${place.uri}` : `discovery ${place.discovery}`;

/**
 * Reads an issuer's `jwks_uri` from its metadata, which must name the same issuer (OpenID Connect Discovery section
 * 4.3).
 */
async function discover(client: Pick<OutboundClient, 'getJson'>, issuer: string): Promise<string> {
  const document = await client.getJson(discoveryUrl(issuer));
  const { issuer: named, jwks_uri: uri } = (document ?? {}) as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer || typeof uri !== 'string') throw new OutboundFailure('not-its-metadata');
  return uri;
}

const matching = ({ keys }: KeySet, kid: string | undefined): PublicKey[] =>
  kid === undefined ? keys : keys.filter((key) => key.kid === kid);

/** Whether `then` is less than `lengthMs` ago. False if the clock was set back to before `then`. */
function isWithin(then: number | undefined, lengthMs: number, now: number): boolean {
  return then !== undefined && now >= then && now - then < lengthMs;
}
