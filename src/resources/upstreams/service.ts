import type { Envelope } from '../../crypto/envelope.ts';
import type { Db } from '../../db/database.ts';
import type { Route } from './route-pattern.ts';
import type { Upstream } from './upstream.ts';

export interface UpstreamsDeps {
  envelope: Envelope;
}

/** An upstream with all that a call to it needs. */
export interface FoundUpstream extends Upstream {
  /** The identifier of its resource: the audience of the tokens for it. */
  identifier: string;
  scopes: { name: string; routes: Route[] }[];
  /** The secret that is in use at the instant; null if the upstream has no authentication. */
  secret: string | null;
}

export type UpstreamsService = ReturnType<typeof createUpstreamsService>;

/** Creates the service for the upstreams of resources of kind `http`, and for their credentials. */
export function createUpstreamsService(_deps: UpstreamsDeps) {
  return {
    /** Finds an upstream by its slug. Returns undefined if it is unknown or its resource is deleted. */
    find: (_db: Db, _slug: string, _now: Date): Promise<FoundUpstream | undefined> =>
      Promise.resolve(undefined),
  };
}
