import { sha256 } from '../crypto/hash.ts';
import { BrokerError } from '../errors.ts';
import { validatePolicyText } from './policy-text.ts';

/** A policy in its version in force. */
export interface Policy {
  /** `pol_...` */
  id: string;
  name: string;
  /** From 1; each update makes the next. */
  version: number;
  cedar: string;
  createdAt: Date;
  updatedAt: Date;
  /** Who made this version. */
  updatedBy: string;
}

/** What a new installation decides by. */
export const defaultPolicy = {
  name: 'default: one approval for everything',
  cedar: 'permit(principal, action == Action::"request", resource) when { context.approvals >= 1 };',
};

/** Throws `invalid-policy`, with every error's place in `errors`, unless `cedar` may be stored. Takes 10 to 40 ms. */
export function assertValidPolicy(cedar: string): void {
  const result = validatePolicyText(cedar);
  if (!result.ok) throw new BrokerError('invalid-policy', { extensions: { errors: result.errors } });
}

/** What the record says of a policy: which text it was, without the text. */
export function policyDetails(policy: Pick<Policy, 'name' | 'version' | 'cedar'>): Record<string, unknown> {
  const { name, version, cedar } = policy;
  return { name, version, sha256: sha256(cedar).toString('hex') };
}
