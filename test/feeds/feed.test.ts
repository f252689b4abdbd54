import { expect, it } from 'vitest';
import { batchEvents } from '../../src/feeds/feed.ts';

it('a feed that fails reads half as many events each time, down to the single event that cannot be handled', () => {
  expect([0, 1, 2, 7, 8, 5000].map(batchEvents)).toEqual([200, 100, 50, 1, 1, 1]);
});
