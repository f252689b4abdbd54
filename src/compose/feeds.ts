import type { Feed } from '../feeds/feed.ts';

/** Creates the list of feeds: one entry for each reader of the audit log. */
export function createFeeds(): Feed[] {
  return [];
}
