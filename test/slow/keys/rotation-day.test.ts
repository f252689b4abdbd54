import { beforeAll, describe, expect, it } from 'vitest';
import { signingAlgs } from '../../../src/crypto/algorithms.ts';
import type { KeysService } from '../../../src/keys/service.ts';
import { act, createStartedDatabase, noFence, replicaOn } from '../../keys/store-fixtures.ts';
import { FakeClock } from '../../support/fake-clock.ts';

let clock: FakeClock;
let keys: KeysService;

beforeAll(async () => {
  const database = await createStartedDatabase();
  await database.reset();
  clock = new FakeClock();
  keys = replicaOn(database.db, { clock });
});

/** The keys that verifiers and this replica use at one time. */
interface Snapshot {
  now: number;
  published: ReadonlySet<string>;
  /** The `kid` of the active key of each algorithm. */
  signing: ReadonlyMap<string, string>;
}

async function snapshot(): Promise<Snapshot> {
  const now = clock.now().getTime();
  const published = new Set((await keys.jwks()).keys.map(({ kid }) => kid));
  const signing = new Map<string, string>();
  for (const alg of signingAlgs) {
    const signer = keys.ring.signer(alg);
    if (signer !== undefined) signing.set(alg, signer.kid);
  }
  return { now, published, signing };
}

/** Requests a rotation. Returns whether it was refused because the next key was published too recently. */
async function rotateByHand(): Promise<boolean> {
  const rotated = keys.rotate(act, { compromised: false, reason: 'impatience' });
  const code = await rotated.then(
    () => undefined,
    (error: { code: string }) => error.code,
  );
  if (code !== undefined) expect(code).toBe('no-published-key');
  return code !== undefined;
}

describe('over a day of runs every minute, and 13 minutes of manual rotations', () => {
  it('a key signs only after it was published for 360 s, and stays published for 960 s after its last signature', async () => {
    await keys.ring.refresh();
    const firstKids = new Set((await snapshot()).signing.values());
    const publishedSince = new Map<string, number>();
    const lastSigned = new Map<string, number>();
    const gone = new Map<string, number>();
    let refusals = 0;
    let seen = await snapshot();
    for (let minute = 0; minute <= 24 * 60 + 30; minute += 1) {
      // Between two runs only the time changes, so only runs that changed something are checked again.
      const byHand = minute >= 600 && minute <= 612;
      const count = await keys.rotateDue(noFence);
      if (byHand && (await rotateByHand())) refusals += 1;
      if (count > 0 || byHand) seen = await snapshot();
      for (const kid of seen.published) {
        if (!publishedSince.has(kid)) publishedSince.set(kid, seen.now);
      }
      for (const kid of publishedSince.keys()) {
        if (!seen.published.has(kid) && !gone.has(kid)) gone.set(kid, seen.now);
      }
      expect(seen.signing.size).toBe(signingAlgs.length);
      const now = clock.now().getTime();
      for (const kid of seen.signing.values()) {
        const publishedMs = now - (publishedSince.get(kid) ?? now);
        if (!firstKids.has(kid) && publishedMs < 360_000) throw new Error(`${kid} after ${publishedMs} ms`);
        lastSigned.set(kid, now);
      }
      clock.advance(60);
    }
    // Three manual rotations, of ES256 (at 600, 606 and 612 minutes), and one automatic rotation of each of the two
    // others.
    expect([refusals, lastSigned.size, gone.size]).toEqual([10, 4 + 2 + 2, 3 + 1 + 1]);
    for (const [kid, at] of gone) {
      // It signed until the run that retired it, a minute after it was last seen to sign.
      expect(at - ((lastSigned.get(kid) ?? at) + 60_000)).toBeGreaterThanOrEqual(960_000);
    }
  });
});
