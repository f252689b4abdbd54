import { describe, expect, it } from 'vitest';
import { createDecisionCache, decisionKey } from '../../src/policies/decision-cache.ts';

describe('decision cache', () => {
  it('never holds more than its limit and drops what was used least recently', () => {
    const cache = createDecisionCache<number>({ maxEntries: 3 });
    for (const [index, key] of ['a', 'b', 'c'].entries()) cache.set(key, index);
    cache.get('a');
    cache.set('d', 3);
    expect(cache.size).toBe(3);
    expect(['a', 'b', 'c', 'd'].map((key) => cache.get(key))).toEqual([0, undefined, 2, 3]);
  });

  it('replaces a value without growing', () => {
    const cache = createDecisionCache<number>({ maxEntries: 2 });
    for (let i = 0; i < 10; i += 1) cache.set('a', i);
    expect(cache.size).toBe(1);
    expect(cache.get('a')).toBe(9);
  });

  it('holds 10,000 decisions unless told otherwise', () => {
    const cache = createDecisionCache<number>();
    for (let i = 0; i < 10_500; i += 1) cache.set(`${i}`, i);
    expect(cache.size).toBe(10_000);
  });

  it('shares nothing with another cache', () => {
    const cache = createDecisionCache<number>();
    cache.set('a', 1);
    expect(createDecisionCache<number>().get('a')).toBeUndefined();
  });

  it('makes different keys of different parts', () => {
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
    expect(new Set(keys.map((parts) => decisionKey(parts))).size).toBe(keys.length);
    expect(decisionKey(['grt_1', 2, 3n, ['read']])).toBe(decisionKey(['grt_1', 2, 3n, ['read']]));
  });
});
