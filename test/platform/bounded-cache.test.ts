import { describe, expect, it } from 'vitest';
import { cacheKey, createBoundedCache } from '../../src/platform/bounded-cache.ts';

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

  it('shares nothing with another cache', () => {
    const cache = createBoundedCache<number>();
    cache.set('a', 1);
    expect(createBoundedCache<number>().get('a')).toBeUndefined();
  });
});

describe('a key of several parts', () => {
  it('is another one for other parts, and the same for the same', () => {
    const keys = [
      ['a', 'b'],
      ['a,b'],
      ['a"', 'b'],
      [['a', 'b']],
      ['a', ['b']],
      [1n],
      [1],
      ['1'],
      ['1n', 'x'],
    ];
    expect(new Set(keys.map((parts) => cacheKey(parts))).size).toBe(keys.length);
    expect(cacheKey(['grt_1', 2, 3n, ['read']])).toBe(cacheKey(['grt_1', 2, 3n, ['read']]));
  });
});
