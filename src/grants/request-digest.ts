import type { Detail } from '../authorization-details/details-type.ts';
import { sha256 } from '../crypto/hash.ts';
import { byCodeUnit, canonicalJson } from '../platform/canonical-json.ts';
import type { ScopeText } from './grant.ts';

/** What an approval agrees to. */
export interface Terms {
  agentId: string;
  resource: string;
  scopes: readonly string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
  /** Null: none (RFC 9396). */
  authorizationDetails: readonly Detail[] | null;
}

/**
 * The `request_digest`: SHA-256, in base64url, of the canonical JSON of the effective terms. The scopes stand in the
 * order of their names with their text and risk from the catalogue, so whoever approved has seen just these.
 */
export function requestDigest(terms: Terms, catalogue: readonly ScopeText[]): string {
  const texts = new Map(catalogue.map((scope) => [scope.name, scope]));
  const scopes = [...terms.scopes].sort(byCodeUnit).map((name) => {
    const { description = null, risk = null } = texts.get(name) ?? {};
    return [name, description, risk];
  });
  // An array has one reading and one order; its head names the format: 2 is of requests with more than 1 has.
  const { agentId, resource, durationSeconds, reason, ticket, authorizationDetails: details } = terms;
  const head = `hallpass-grant-terms/${details === null ? 1 : 2}`;
  const canonical = [head, agentId, resource, scopes, durationSeconds, reason, ticket];
  return sha256(canonicalJson(details === null ? canonical : [...canonical, details])).toString('base64url');
}
