import { describe, expect, it } from 'vitest';
import { StrangerCounts } from '../../src/audit/strangers.ts';

describe('counts of strangers', () => {
  it('tell a thousand addresses apart and count the rest together', () => {
    const counts = new StrangerCounts();
    for (let n = 0; n < 5000; n += 1) counts.count(`address ${n}`);
    counts.count('address 7');
    const taken = counts.take();
    expect(taken.size).toBe(1001);
    expect(taken.get('address 7')).toBe(2);
    expect(taken.get('other')).toBe(4000);
    expect([...taken.values()].reduce((sum, count) => sum + count)).toBe(5001);
  });

  it('begin anew when they are taken', () => {
    const counts = new StrangerCounts();
    counts.count('address');
    expect(counts.take()).toEqual(new Map([['address', 1]]));
    expect(counts.take()).toEqual(new Map());
  });
});
