import fc from 'fast-check';
import { TypeID } from 'typeid-js';
import { describe, expect, it } from 'vitest';
import { createIds, idPrefixes } from '../../src/platform/ids.ts';
import { createSystemRandom, generateSecret } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Returns the time in an id, in milliseconds since the epoch. */
function timeOf(id: string): number {
  return Number.parseInt(TypeID.fromString(id).toUUID().replaceAll('-', '').slice(0, 12), 16);
}

describe('ids', () => {
  it('are TypeIDs of UUIDv7 with the prefix of their kind', () => {
    const clock = new FakeClock();
    const id = createIds(clock, createSystemRandom()).next('agent');
    expect(id).toMatch(/^agt_[0-7][0-9a-hjkmnp-tv-z]{25}$/);
    const uuid = TypeID.fromString(id).toUUID();
    expect(uuid[14]).toBe('7');
    expect('89ab').toContain(uuid[19]);
    expect(timeOf(id)).toBe(clock.now().getTime());
  });

  it('are encoded as the reference implementation of TypeID does, including the random bits', () => {
    const clock = new FakeClock();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.nat(2 ** 40), (entropy, ms) => {
        clock.advance(ms / 1000);
        const random = { bytes: (length: number) => Buffer.from(entropy.subarray(0, length)) };
        const id = createIds(clock, random).next('grant');
        const uuid = Buffer.alloc(16);
        uuid.writeUIntBE(clock.now().getTime(), 0, 6);
        uuid.writeUInt16BE(0x7000 | (Buffer.from(entropy).readUInt16BE() >>> 5), 6);
        uuid.set(entropy, 8);
        uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
        expect(id).toBe(TypeID.fromUUIDBytes('grt', uuid).toString());
      }),
    );
  });

  it('sort by creation time', () => {
    const clock = new FakeClock();
    const ids = createIds(clock, createSystemRandom());
    const made = Array.from({ length: 50 }, () => {
      clock.advance(0.001);
      return ids.next('grant');
    });
    expect([...made].sort()).toEqual(made);
  });

  it('sort in the order of creation, across all kinds, within a millisecond and beyond it', () => {
    const ids = createIds(new FakeClock(), createSystemRandom());
    const made = Array.from({ length: 20_000 }, (_, n) => ids.next(n % 2 === 0 ? 'event' : 'grant').slice(4));
    expect([...made].sort()).toEqual(made);
    expect(new Set(made).size).toBe(made.length);
  });

  it('sort in the order of creation even if the clock is set back by up to 10 s, and follow a clock that is set back further', () => {
    const clock = new FakeClock();
    const ids = createIds(clock, createSystemRandom());
    const made = [-1, 0, -5, 0.5, -9.9].map((seconds) => {
      const id = ids.next('event');
      clock.advance(seconds);
      return id;
    });
    expect([...made].sort()).toEqual(made);
    clock.advance(-3600);
    expect(timeOf(ids.next('event'))).toBe(clock.now().getTime());
  });

  it('start their counter at a random number in the lower half, and continue in the next millisecond if the counter is exhausted', () => {
    const clock = new FakeClock();
    const ids = createIds(clock, { bytes: (length) => Buffer.alloc(length, 0xff) });
    const made = Array.from({ length: 2050 }, () => ids.next('event'));
    const countOf = (id: string): string => TypeID.fromString(id).toUUID().slice(15, 18);
    expect(made.slice(0, 2).map(countOf)).toEqual(['7ff', '800']);
    expect(countOf(made[2048] ?? '')).toBe('fff');
    expect(countOf(made[2049] ?? '')).toBe('000');
    expect(timeOf(made[2049] ?? '')).toBe(clock.now().getTime() + 1);
  });

  it('never repeat within a millisecond', () => {
    const ids = createIds(new FakeClock(), createSystemRandom());
    expect(new Set(Array.from({ length: 5_000 }, () => ids.next('token'))).size).toBe(5_000);
  });

  it('have a different prefix for every kind', () => {
    const prefixes = Object.values(idPrefixes);
    expect(new Set(prefixes).size).toBe(prefixes.length);
  });
});

describe('generated secrets', () => {
  it('contain all 256 bits in [A-Za-z0-9_] after a recognisable prefix', () => {
    const highest = { bytes: (length: number) => Buffer.alloc(length, 0xff) };
    const lowest = { bytes: (length: number) => Buffer.alloc(length) };
    expect(generateSecret(highest, 'hpa')).toMatch(/^hpa_[A-Za-z0-9]{43}$/);
    expect(generateSecret(lowest, 'hps')).toBe(`hps_${'0'.repeat(43)}`);
    const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
    const value = [...generateSecret(highest, 'hpr').slice(4)].reduce(
      (sum, digit) => sum * 62n + BigInt(digits.indexOf(digit)),
      0n,
    );
    expect(value).toBe(2n ** 256n - 1n);
  });

  it('are never repeated by the pooled generator', () => {
    const random = createSystemRandom();
    const seen = new Set(Array.from({ length: 2_000 }, () => random.bytes(32).toString('hex')));
    expect(seen.size).toBe(2_000);
    expect(random.bytes(20_000)).toHaveLength(20_000);
  });
});
