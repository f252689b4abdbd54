import { describe, expect, it } from 'vitest';
import { createBoundedCache } from '../../src/platform/bounded-cache.ts';

describe('a bounded cache', () => {
  it('never exceeds its limit and evicts the least recently used values', () => {
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

  it('holds 10,000 values by default', () => {
    const cache = createBoundedCache<number>();
    for (let i = 0; i < 10_500; i += 1) cache.set(`${i}`, i);
    expect(cache.size).toBe(10_000);
  });

  it('never exceeds its maximum weight', () => {
    const cache = createBoundedCache<string>({ weigh: (text) => text.length, maxWeight: 100 });
    for (let i = 0; i < 50; i += 1) cache.set(`${i}`, 'x'.repeat(i));
    const kept = Array.from({ length: 50 }, (_, i) => cache.get(`${i}`)).filter((text) => text !== undefined);
    expect(kept.join('').length).toBeLessThanOrEqual(100);
    expect(kept.at(-1)).toHaveLength(49);
    cache.set('49', 'x');
    expect(cache.get('48')).toHaveLength(48);
    cache.set('small', 'x');
    expect(cache.get('small')).toBe('x');
  });

  it('does not keep a value that is heavier than the limit, and evicts nothing but its key for it', () => {
    const cache = createBoundedCache<string>({ weigh: (text) => text.length, maxWeight: 100 });
    cache.set('a', 'x');
    cache.set('b', 'x');
    cache.set('b', 'x'.repeat(101));
    expect(['a', 'b'].map((key) => cache.get(key))).toEqual(['x', undefined]);
    cache.set('b', 'x'.repeat(99));
    expect(cache.size).toBe(2);
  });

  it('weighs an object again each time it is set', () => {
    const cache = createBoundedCache<string[]>({ weigh: (list) => list.length, maxWeight: 3 });
    const grown = ['x'];
    cache.set('a', ['x']);
    cache.set('b', grown);
    expect(cache.size).toBe(2);
    grown.push('x', 'x');
    cache.set('b', grown);
    expect(['a', 'b'].map((key) => cache.get(key))).toEqual([undefined, grown]);
  });

  it('keeps a value without weight', () => {
    const cache = createBoundedCache<string>({ weigh: (text) => text.length, maxWeight: 100 });
    cache.set('a', '');
    expect(cache.get('a')).toBe('');
  });

  it('shares nothing with another cache', () => {
    const cache = createBoundedCache<number>();
    cache.set('a', 1);
    expect(createBoundedCache<number>().get('a')).toBeUndefined();
  });
});
