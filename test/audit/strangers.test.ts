import { describe, expect, it } from 'vitest';
import { StrangerCounts } from '../../src/audit/strangers.ts';

describe('the counter of refused strangers', () => {
  it('counts a thousand addresses separately and the others together', () => {
    const counts = new StrangerCounts();
    for (let n = 0; n < 5000; n += 1) counts.count(`address ${n}`);
    counts.count('address 7');
    const { addresses } = counts.take();
    expect(addresses.size).toBe(1001);
    expect(addresses.get('address 7')).toBe(2);
    expect(addresses.get('other')).toBe(4000);
    expect([...addresses.values()].reduce((sum, count) => sum + count)).toBe(5001);
  });

  it('counts platform tokens by address, issuer, subject and reason: at most ten such combinations for an address, a hundred in total', () => {
    const counts = new StrangerCounts();
    const token = { issuer: 'https://ci.example', subject: 'job', reason: 'expired' };
    counts.count('a', { ...token, detail: 'exp 1' });
    counts.count('a', { ...token, detail: 'exp 2' });
    for (let n = 0; n < 50; n += 1) counts.count('a', { ...token, subject: `job ${n}` });
    for (let n = 0; n < 200; n += 1) counts.count(`b${n}`, token);
    const { addresses, tokens } = counts.take();
    expect(tokens[0]).toEqual({ ...token, detail: 'exp 2', address: 'a', count: 2 });
    expect(tokens.filter(({ address }) => address === 'a')).toHaveLength(10);
    expect(tokens).toHaveLength(100);
    expect(addresses.get('a')).toBe(52);
  });

  it('starts again after `take`', () => {
    const counts = new StrangerCounts();
    counts.count('address');
    expect(counts.take()).toEqual({ addresses: new Map([['address', 1]]), tokens: [] });
    expect(counts.take()).toEqual({ addresses: new Map(), tokens: [] });
  });
});
