import { createBoundedCache } from '../platform/bounded-cache.ts';
import type { Clock } from '../platform/clock.ts';
import { type PublicKey, parseKeySet } from './key-set.ts';
import { discoveryUrl } from './key-source.ts';
import type { OutboundClient } from './outbound-client.ts';
import { OutboundFailure } from './outbound-failure.ts';

/** Where keys are: at a URL, or where an issuer says (OpenID Connect Discovery section 4). */
export type KeySetPlace = { uri: string } | { discovery: string };

export interface KeySets {
  /**
   * The keys at `place` that have this `kid`; without one, all of them. None: the set has no such key. Throws
   * `OutboundFailure` when the set cannot be read and what was read before is too old.
   */
  find(place: KeySetPlace, kid: string | undefined): Promise<PublicKey[]>;
  /** How many readings there were since the start, by outcome: `read` or what went wrong. */
  readings(): ReadonlyMap<string, number>;
}

/** What was read is good without a further look for this long; a minute before that, somebody who asks has it read again. */
const freshMs = 5 * 60_000;
const earlyMs = 4 * 60_000;
/** While it cannot be read again, what was read is good for this long; then nothing is. */
const usableMs = 60 * 60_000;
/** A set is read no oftener than this, whatever is asked of it and whether or not it could be read. */
const betweenReadsMs = 30_000;
/** Those that were asked for last are kept: so many sets, and so many keys in all. */
const kept = { maxEntries: 10_000, maxWeight: 50_000 };

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

export interface KeySetsDeps {
  client: Pick<OutboundClient, 'getJson'>;
  clock: Clock;
  /** Told of every reading that failed: at most one in 30 s of each set. */
  onFailure: (place: KeySetPlace, failure: OutboundFailure) => void;
}

function createTally() {
  const counted = new Map<string, number>();
  return {
    counted: counted as ReadonlyMap<string, number>,
    count: (what: string): void => void counted.set(what, (counted.get(what) ?? 0) + 1),
  };
}

/** The key sets of others, in memory, each read by one request at a time. */
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

  /** The reading that is under way, or a new one if it may begin. */
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
      const set = sets.get(name) ?? without();
      sets.set(name, set);
      const known = matching(set, kid);
      if (known.length > 0 && isWithin(set.readAt, freshMs, now())) {
        // Nobody waits for what is likely the same: the next one has it.
        if (!isWithin(set.readAt, earlyMs, now())) void read(set, place);
        return known;
      }
      await read(set, place);
      sets.set(name, set); // It weighs what it has now.
      if (isWithin(set.readAt, usableMs, now())) return matching(set, kid);
      throw set.failure ?? new OutboundFailure('not-connected');
    },
  };
}

const toFailure = (error: unknown): OutboundFailure =>
  error instanceof OutboundFailure ? error : new OutboundFailure('not-connected', { cause: error });

const nameOf = (place: KeySetPlace): string =>
  'uri' in place ? `uri ${place.uri}` : `discovery ${place.discovery}`;

/** Where an issuer's keys are, by a document that must be its own (OpenID Connect Discovery section 4.3). */
async function discover(client: Pick<OutboundClient, 'getJson'>, issuer: string): Promise<string> {
  const document = await client.getJson(discoveryUrl(issuer));
  const { issuer: named, jwks_uri: uri } = (document ?? {}) as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer || typeof uri !== 'string') throw new OutboundFailure('not-its-metadata');
  return uri;
}

const matching = ({ keys }: KeySet, kid: string | undefined): PublicKey[] =>
  kid === undefined ? keys : keys.filter((key) => key.kid === kid);

/** Whether `then` is less than so long ago; a clock that was set back says nothing of that. */
function isWithin(then: number | undefined, lengthMs: number, now: number): boolean {
  return then !== undefined && now >= then && now - then < lengthMs;
}
