import { sha256 } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import { validatePolicyText } from './policy-text.ts';

/** A policy in its current version. */
export interface Policy {
  /** The id (`pol_...`). */
  id: string;
  name: string;
  /** The version, which starts at 1 and rises by 1 with each update. */
  version: number;
  cedar: string;
  createdAt: Date;
  updatedAt: Date;
  /** The author of this version. */
  updatedBy: string;
}

/** The policy of a new installation. */
export const defaultPolicy = {
  name: 'default: one approval for everything',
  cedar: 'permit(principal, action == Action::"request", resource) when { context.approvals >= 1 };',
};

/**
 * Throws `invalid-policy`, with the position of every error in `errors`, unless `cedar` is a valid policy text. Takes
 * 10 to 40 ms.
 */
export function assertValidPolicy(cedar: string): void {
  const result = validatePolicyText(cedar);
  if (!result.ok) throw new BrokerError('invalid-policy', { extensions: { errors: result.errors } });
}

/** Returns the details of a policy for the audit log: a digest of its text instead of the text. */
export function policyDetails(policy: Pick<Policy, 'name' | 'version' | 'cedar'>): Record<string, unknown> {
  const { name, version, cedar } = policy;
  return { name, version, sha256: sha256(cedar).toString('hex') };
}
