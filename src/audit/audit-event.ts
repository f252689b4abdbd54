import type { Act, Origin } from '../caller.ts';

/** All types of audit events. A type that is not listed does not compile. */
export const auditEventTypes = [
  'admin.created',
  'admin.updated',
  'admin.deleted',
  'admin.bootstrapped',
  'admin.recovered',
  'admin_key.created',
  'admin_key.revoked',
  'agent.created',
  'agent.updated',
  'agent.deleted',
  'agent.disabled',
  'agent.enabled',
  'agent_credential.set',
  'agent_credential.renewed',
  'agent_credential.revoked',
  'client_secret.created',
  'client_secret.revoked',
  'trusted_issuer.created',
  'trusted_issuer.updated',
  'trusted_issuer.deleted',
  'resource.created',
  'resource.updated',
  'resource.deleted',
  'upstream_credential.added',
  'upstream_credential.removed',
  'policy.created',
  'policy.updated',
  'policy.deleted',
  'grant.requested',
  'grant.denied_by_policy',
  'grant.activated',
  'grant.approved',
  'grant.denied',
  'grant.cancelled',
  'grant.returned',
  'grant.revoked',
  'grant.expired',
  'grant.lapsed',
  'lease.requested',
  'lease.refused',
  'lease.activated',
  'lease.renewed',
  'lease.revoking',
  'lease.revoked',
  'lease.cleaned_up',
  'preflight.failed',
  'preflight.passed',
  'target.unneeded_accounts',
  'target.reconciled',
  'target.password_rotation_started',
  'target.password_rotated',
  'target.password_rotation_failed',
  'token.issued',
  'token.refused',
  'token.revoked',
  'key.prepared',
  'key.activated',
  'key.retiring',
  'key.retired',
  'key.compromised',
  'key.resealed',
  'all.ended',
  'access.denied',
  'strangers.refused',
  'workload_token.refused',
] as const;

export type AuditEventType = (typeof auditEventTypes)[number];
export type ActorKind = 'person' | 'agent' | 'resource' | 'system';

export interface Actor {
  kind: ActorKind;
  id: string;
  keyId?: string | null;
}

/** An audit event to append: who did what to what, from where, and with what outcome. */
export interface NewAuditEvent {
  type: AuditEventType;
  outcome?: 'success' | 'denied';
  actor: Actor;
  /** Absent if the broker acts by itself. */
  origin?: Origin | undefined;
  agentId?: string | null;
  grantId?: string | null;
  /** The id of the object of the action. */
  objectId?: string | null;
  /** Must never contain a secret or a request body. */
  details?: Record<string, unknown>;
}

export interface AuditEvent extends Omit<NewAuditEvent, 'actor' | 'origin'> {
  id: string;
  at: Date;
  /** The position of its transaction in the order of the log, by which readers page. */
  tx: number;
  outcome: 'success' | 'denied';
  actor: Required<Actor>;
  origin: { requestId: string | null; address: string | null };
  agentId: string | null;
  grantId: string | null;
  objectId: string | null;
  details: Record<string, unknown>;
}

/** Returns the broker itself as an actor; `name` is a job of the worker, or the start. */
export function systemActor(name: string): Actor {
  return { kind: 'system', id: name };
}

/** Returns actor and origin of an event about an action of `act.caller`. */
export function byAct(act: Act): { actor: Actor; origin: Origin } {
  const { caller, origin } = act;
  const keyId = caller.kind === 'person' ? caller.keyId : null;
  return { actor: { kind: caller.kind, id: caller.id, keyId }, origin };
}
