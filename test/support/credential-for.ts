import { access } from '../../src/http/access.ts';
import { isRouted } from '../../src/http/contract.ts';
import type { OperationDetails } from './contract-requests.ts';
import { bearer } from './http.ts';
import { bootstrapKey } from './test-config.ts';

/**
 * Returns the Authorization header with which an operation can be called: the broker token of an agent if agents may
 * call it, otherwise the bootstrap key. Returns no header if anyone may call it, or if it bypasses Express.
 */
export function credentialFor({ entry }: OperationDetails, agentToken: string): Record<string, string> {
  if (!isRouted(entry)) return {};
  const allowed: readonly string[] = access[entry.id];
  if (allowed.includes('anyone')) return {};
  return bearer(allowed.includes('agent') ? agentToken : bootstrapKey);
}
