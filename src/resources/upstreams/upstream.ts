/** How the gateway authenticates to an upstream, without the secret. `none`: the upstream has no authentication. */
export type UpstreamCredential =
  | { type: 'bearer' }
  | { type: 'header'; name: string }
  | { type: 'basic'; username: string }
  | { type: 'none' };

/** The API behind a resource of kind `http`. */
export interface Upstream {
  resourceId: string;
  /** The first segment of its path at the gateway. Never changes, and no other resource ever has it. */
  slug: string;
  /** An absolute URL in normal form, without a trailing slash. */
  baseUrl: string;
  protocol: 'plain';
  credential: UpstreamCredential;
  /** The certificates (PEM) to trust; null for those of the system. */
  ca: string | null;
  connectSeconds: number;
  /** How long the gateway waits for the headers of a response. */
  responseSeconds: number;
  /** How long the gateway waits for the next part of a body. */
  idleSeconds: number;
}
