import type { Act, Origin } from '../caller.ts';

/** Everything that is ever recorded. A type that is not listed does not compile. */
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
  'agent_proof.set',
  'agent_proof.renewed',
  'agent_proof.revoked',
  'client_secret.created',
  'client_secret.revoked',
  'trusted_issuer.created',
  'trusted_issuer.updated',
  'trusted_issuer.deleted',
  'resource.created',
  'resource.updated',
  'resource.deleted',
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
] as const;

export type AuditEventType = (typeof auditEventTypes)[number];
export type ActorKind = 'person' | 'agent' | 'resource' | 'system';

export interface Actor {
  kind: ActorKind;
  id: string;
  keyId?: string | null;
}

/** Something to record: who did what to what, from where, and with what outcome. */
export interface NewAuditEvent {
  type: AuditEventType;
  outcome?: 'success' | 'denied';
  actor: Actor;
  /** Absent for what the broker does by itself. */
  origin?: Origin | undefined;
  agentId?: string | null;
  grantId?: string | null;
  /** The id of what it was done to. */
  objectId?: string | null;
  /** Never a secret, never a body. */
  details?: Record<string, unknown>;
}

export interface AuditEvent extends Omit<NewAuditEvent, 'actor' | 'origin'> {
  id: string;
  at: Date;
  /** Where the transaction that recorded it stands among all: readers page by it. */
  tx: number;
  outcome: 'success' | 'denied';
  actor: Required<Actor>;
  origin: { requestId: string | null; address: string | null };
  agentId: string | null;
  grantId: string | null;
  objectId: string | null;
  details: Record<string, unknown>;
}

/** The broker itself, as an actor: a job of the worker, or the start. */
export function systemActor(name: string): Actor {
  return { kind: 'system', id: name };
}

/** The part of an event that says who and from where, for something that `act.caller` does. */
export function byAct(act: Act): { actor: Actor; origin: Origin } {
  const { caller, origin } = act;
  const keyId = caller.kind === 'person' ? caller.keyId : null;
  return { actor: { kind: caller.kind, id: caller.id, keyId }, origin };
}
