import type { Actor } from '../../audit/audit-event.ts';
import type { Origin } from '../../caller.ts';

/**
 * Selects the grants to end. The caller's transaction has made them inactive for every reader before:
 * it has ended a grant, raised an epoch, or revoked a token or credential. A change of a catalogue
 * leaves nothing that readers check, so for that selection the grants themselves are written as ended.
 */
export type Selection =
  /** The grants delegated from a grant that has ended. */
  | { kind: 'grant'; grantId: string }
  /** The grants of an agent whose epoch was raised. */
  | { kind: 'agent'; agentId: string }
  /** The grants of a resource whose epoch was raised. */
  | { kind: 'resource'; resourceId: string }
  /** The grants that use a changed part of the catalogue. The caller has locked the resource FOR UPDATE. */
  | ({ kind: 'catalogue'; resourceId: string } & CatalogueChange)
  /** The grants delegated for a subject token that was revoked. */
  | { kind: 'subject_token'; jti: string }
  /** The grants delegated for ended subject tokens of this agent: by a revoked credential or a new requirement. */
  | { kind: 'tokens_of_agent'; agentId: string }
  /** The grants delegated for subject tokens for this resource that a new requirement ended. */
  | { kind: 'tokens_for_resource'; resourceId: string }
  /** The grants delegated for subject tokens that a compromised key signed. */
  | { kind: 'tokens_signed_by'; kid: string }
  /** The grants delegated for subject tokens that ended with the trust in the issuer of their client or subject. */
  | { kind: 'tokens_by_issuer'; issuerId: string }
  /** Every delegated grant that has ended; for the sweep, which knows no cause. */
  | { kind: 'derived' };

export interface CatalogueChange {
  /** Scopes that were removed or whose risk was raised. The grants and requests that use one end. */
  endedScopes: readonly string[];
  /** Scopes whose text changed. The pending requests that use one and have an approval end. */
  changedScopes: readonly string[];
  /** Types of authorization details that were removed or changed. */
  endedTypes: readonly string[];
}

export interface NewEnding {
  selection: Selection;
  /** The end reason of the selected grants and their events. With `catalogue`, each grant has its own reason instead. */
  reason: string;
  at: Date;
  actor: Actor;
  origin?: Origin | undefined;
  /** The `object_id` of the audit events. */
  objectId?: string;
}

/** The end reason of a grant that was delegated from a grant that has ended. */
export const ancestorEndedReason = 'its parent grant ended';

/** Returns the id by which a selection finds its grants; empty for `derived`, which needs none. */
export function subjectOf(selection: Selection): string {
  switch (selection.kind) {
    case 'grant':
      return selection.grantId;
    case 'agent':
    case 'tokens_of_agent':
      return selection.agentId;
    case 'resource':
    case 'catalogue':
    case 'tokens_for_resource':
      return selection.resourceId;
    case 'tokens_signed_by':
      return selection.kid;
    case 'tokens_by_issuer':
      return selection.issuerId;
    case 'subject_token':
      return selection.jti;
    case 'derived':
      return '';
  }
}
