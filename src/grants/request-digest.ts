import { sha256 } from '../crypto/hash.ts';
import type { ScopeText } from './grant.ts';

/** What an approval agrees to. */
export interface Terms {
  agentId: string;
  resource: string;
  scopes: readonly string[];
  durationSeconds: number;
  reason: string;
  ticket: string | null;
}

/** Compares by code unit: the same on every machine, unlike a locale's order. */
const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

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
  // An array has one reading and one order; its head names the format.
  const canonical = ['hallpass-grant-terms/1', terms.agentId, terms.resource, scopes, terms.durationSeconds];
  return sha256(JSON.stringify([...canonical, terms.reason, terms.ticket])).toString('base64url');
}
