import { describe, expect, it } from 'vitest';
import { createBoundedCache } from '../../src/platform/bounded-cache.ts';

describe('a bounded cache', () => {
  it('never holds more than its limit and drops what was used least recently', () => {
    const cache = createBoundedCache<number>({ maxEntries: 3 });
    for (const [index, key] of ['a', 'b', 'c'].entries()) cache.set(key, index);
    cache.get('a');
    cache.set('d', 3);
    expect(cache.size).toBe(3);
    expect(['a', 'b', 'c', 'd'].map((key) => cache.get(key))).toEqual([0, undefined, 2, 3]);
  });

  it('replaces a value without growing', () => {
    const cache = createBoundedCache<number>({ maxEntries: 2 });
    for (let i = 0; i < 10; i += 1) cache.set('a', i);
    expect(cache.size).toBe(1);
    expect(cache.get('a')).toBe(9);
  });

  it('holds 10,000 values unless told otherwise', () => {
    const cache = createBoundedCache<number>();
    for (let i = 0; i < 10_500; i += 1) cache.set(`${i}`, i);
    expect(cache.size).toBe(10_000);
  });

  it('never weighs more than its limit, whatever it is fed', () => {
    const cache = createBoundedCache<string>({ weigh: (text) => text.length, maxWeight: 100 });
    for (let i = 0; i < 50; i += 1) cache.set(`${i}`, 'x'.repeat(i));
    const kept = Array.from({ length: 50 }, (_, i) => cache.get(`${i}`)).filter((text) => text !== undefined);
    expect(kept.join('').length).toBeLessThanOrEqual(100);
    expect(kept.at(-1)).toHaveLength(49);
    cache.set('49', 'x');
    cache.set('huge', 'x'.repeat(101));
    expect(cache.size).toBe(0);
    cache.set('small', 'x');
    expect(cache.get('small')).toBe('x');
  });

  it('shares nothing with another cache', () => {
    const cache = createBoundedCache<number>();
    cache.set('a', 1);
    expect(createBoundedCache<number>().get('a')).toBeUndefined();
  });
});
