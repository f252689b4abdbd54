import type { Detail } from '../authorization-details/details-type.ts';
import { sha256 } from '../crypto/hash.ts';
import type { ScopeText } from '../grants/grant.ts';
import { byCodeUnit, canonicalJson } from '../platform/canonical-json.ts';

/** The terms to which an approval agrees. */
export interface Terms {
  agentId: string;
  resource: string;
  scopes: readonly string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
  /** Null if the request has none (RFC 9396). */
  authorizationDetails: readonly Detail[] | null;
}

/**
 * Computes the `request_digest`: SHA-256, in base64url, of the canonical JSON of the effective terms. The scopes
 * are in the order of their names, with text and risk from the catalogue, so the approver has seen exactly these.
 */
export function requestDigest(terms: Terms, catalogue: readonly ScopeText[]): string {
  const texts = new Map(catalogue.map((scope) => [scope.name, scope]));
  const scopes = [...terms.scopes].sort(byCodeUnit).map((name) => {
    const { description = null, risk = null, mapping } = texts.get(name) ?? {};
    return mapping === undefined ? [name, description, risk] : [name, description, risk, mapping];
  });
  // An array can be read in only one way. Its first element is the version: 2 for terms with authorization details.
  const { agentId, resource, durationSeconds, reason, ticket, authorizationDetails: details } = terms;
  const head = `hallpass-grant-terms/${details === null ? 1 : 2}`;
  const canonical = [head, agentId, resource, scopes, durationSeconds, reason, ticket];
  return sha256(canonicalJson(details === null ? canonical : [...canonical, details])).toString('base64url');
}
